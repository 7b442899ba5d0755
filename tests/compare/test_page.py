"""The page in a real browser: what it shows, and what mouse, fingers and keys do."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from browser import DOWN, END, HOME, LEFT, MISSING, RIGHT, UP, Browser
from conftest import moving_frames
from vsedvr.compare.comparison import ComparisonSettings, compare
from vsedvr.compare.page import write_page
from vsedvr.compare.version import Version

Frames = Sequence[NDArray[np.uint8]]

RED, BLUE, GREEN = (200, 30, 30), (30, 30, 200), (30, 200, 30)
HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)> "'&amp;$title<!-- pictures -->\u202e\udcff\n`${0}"""

needs_chromium = pytest.mark.skipif(bool(MISSING), reason=f"no {MISSING}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


def page_of(
    path: Path, versions: dict[str, Frames], truth: Frames | None = None, settings: ComparisonSettings | None = None
) -> Path:
    """Writes a page for clips in memory, with a time for each frame."""
    first, *others = [Version(name, frames, (len(frames[0]), len(frames[0][0]))) for name, frames in versions.items()]
    first = Version(first.name, first.frames, first.size, "the first", lambda n: n / 25)
    comparison = compare(
        [first, *others], Version("truth", truth, (len(truth[0]), len(truth[0][0]))) if truth else None, settings
    )
    write_page(comparison, path)
    return path


def plain(color: tuple[int, int, int], count: int = 4) -> Frames:
    """Makes frames of a single colour, each a little brighter than the one before."""
    return [np.full((60, 100, 3), color, np.uint8) + np.uint8(10 * n) for n in range(count)]


@pytest.fixture(scope="module")
def red_and_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(tmp_path_factory.mktemp("page") / "page.html", {"red": plain(RED), "blue": plain(BLUE)}, plain(GREEN))


def share_of(color: tuple[int, int, int], picture: NDArray[np.uint8]) -> float:
    """Returns the share of columns that have a colour near the lower end, where there is no label."""
    return float((picture[-20] == color).all(-1).mean())


@needs_chromium
def test_the_page_opens_without_errors_and_asks_for_nothing(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    browser.press("s", "d", "d", "+", "0", DOWN)
    assert browser.errors() == []
    asked = browser.requests()
    assert red_and_blue.as_uri() in asked
    assert [url for url in asked if not url.startswith("data:") and url != red_and_blue.as_uri()] == []
    assert browser.run("return performance.getEntriesByType('resource').filter((r) => !r.name.startsWith('data:')).length") == 0


def test_the_page_names_no_address_and_forbids_requests(red_and_blue: Path) -> None:
    page = red_and_blue.read_text("utf-8")
    assert not re.search("://|@import|url\\(", page)
    assert "default-src 'none'; img-src data:" in page


@needs_chromium
def test_both_sides_show_the_same_frame_with_names_and_figures(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    picture = browser.picture("#stage")
    assert tuple(picture[-20, 10]) == RED
    assert tuple(picture[-20, -10]) == BLUE
    assert re.fullmatch(r"red\n\d+\.\d\d dB, SSIM \d\.\d{4}", browser.text("left-label"))
    assert browser.text("right-label").startswith("blue\n")
    assert browser.text("frame") == "Frame 0, 0:00:00.00"
    browser.press(DOWN, DOWN)
    picture = browser.picture("#stage")
    assert tuple(picture[-20, 10]) == tuple(sample + 20 for sample in RED)
    assert tuple(picture[-20, -10]) == tuple(sample + 20 for sample in BLUE)
    assert browser.text("frame") == "Frame 2, 0:00:00.08"
    browser.press(UP)
    assert browser.text("frame") == "Frame 1, 0:00:00.04"
    browser.press(*[UP] * 3)
    assert browser.text("frame") == "Frame 0, 0:00:00.00", "there is none before it"
    browser.click("#strip button:nth-child(4)")
    assert browser.text("frame") == "Frame 3, 0:00:00.12"
    browser.click("#previous")
    assert browser.text("frame") == "Frame 2, 0:00:00.08"


@needs_chromium
def test_mouse_fingers_and_keys_move_the_edge(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    assert share_of(RED, browser.picture("#stage")) == pytest.approx(0.5, abs=0.01)
    box = browser.box("#stage")
    middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browser.drag((middle, y), (box["x"] + 0.25 * box["width"], y))
    picture = browser.picture("#stage")
    assert share_of(RED, picture) == pytest.approx(0.25, abs=0.01)
    assert share_of(BLUE, picture) == pytest.approx(0.75, abs=0.01)
    browser.touch([(box["x"] + 0.25 * box["width"], y)], [(middle, y)], [(box["x"] + 0.8 * box["width"], y)])
    assert share_of(RED, browser.picture("#stage")) == pytest.approx(0.8, abs=0.01)
    browser.press(LEFT, LEFT)
    assert share_of(RED, browser.picture("#stage")) == pytest.approx(0.76, abs=0.01)
    browser.press(RIGHT)
    assert share_of(RED, browser.picture("#stage")) == pytest.approx(0.78, abs=0.01)
    assert browser.run("return document.getElementById('edge').ariaValueNow") == "78"
    assert browser.run("return document.getElementById('edge').getAttribute('aria-valuetext')") == "78 % red, 22 % blue"
    browser.drag((middle, y), (box["x"] + 2 * box["width"], y))
    assert share_of(RED, browser.picture("#stage")) > 0.99


@needs_chromium
def test_zoom_shows_each_pixel_as_it_is(browser: Browser, tmp_path: Path) -> None:
    """Every pixel is 4x4 pixels of the screen, in the exact colours, and dragging moves the picture by as many pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 299, 501, 3), np.uint8)
    page = page_of(tmp_path / "page.html", {"a": [noise[0]], "b": [noise[1]]})
    browser.open(page)
    browser.press("1")
    assert browser.text("zoom") == "1:1"
    browser.press("+", "+", "+")
    assert browser.text("zoom") == "4:1"
    browser.run("for (const id of ['edge', 'left-label', 'right-label']) document.getElementById(id).style.display = 'none'")

    def place(shown: NDArray[np.uint8], source: NDArray[np.uint8]) -> tuple[int, int]:
        """Finds the place of a screenshot in the enlarged source; fails if it is not an exact part of it."""
        large = source.repeat(4, 0).repeat(4, 1)
        windows = np.lib.stride_tricks.sliding_window_view(large, (*shown.shape[:2], 3))[:, :, 0]
        ((top, left),) = [
            (top, left)
            for top, left in np.argwhere((windows[:, :, 0, 0] == shown[0, 0]).all(-1))
            if (windows[top, left] == shown).all()
        ]
        return int(top), int(left)

    picture = browser.picture("#stage")
    half = picture.shape[1] // 2
    left, right = picture[8:-8, 8 : half - 8], picture[8:-8, half + 8 : -8]
    top, column = place(left, noise[0])
    assert place(right, noise[1]) == (top, column + half), "the two sides fit to the pixel"
    box = browser.box("#stage")
    browser.drag((box["x"] + 40, box["y"] + 40), (box["x"] + 70, box["y"] + 52))
    assert place(browser.picture("#stage")[8:-8, 8 : half - 8], noise[0]) == (top - 12, column - 30)
    browser.press("0")
    assert browser.text("zoom") == "fit"
    browser.press("-")
    assert browser.text("zoom") == "fit"


@needs_chromium
def test_two_fingers_and_the_wheel_zoom(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    box = browser.box("#stage")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browser.touch([(x - 20, y), (x + 20, y)], [(x - 60, y), (x + 60, y)])
    zoomed = browser.text("zoom")
    assert zoomed.endswith(":1")
    wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -120, "modifiers": 2}
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    browser.settle()
    assert float(browser.text("zoom").split(":")[0]) > float(zoomed.split(":")[0])


@needs_chromium
def test_any_two_versions_can_be_chosen(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    choose = "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    browser.run(choose, "right", "2")
    browser.settle()
    assert tuple(browser.picture("#stage")[-20, -10]) == GREEN
    assert browser.text("right-label") == "truth", "which is measured against nothing"
    browser.run(choose, "left", "2")  # the version on the right side: the right side then gets the one of the left side
    browser.settle()
    assert browser.text("left-label") == "truth"
    assert browser.text("right-label").startswith("red")
    browser.press("s")
    assert browser.text("right-label") == "truth"
    assert tuple(browser.picture("#stage")[-20, 10]) == RED


@needs_chromium
def test_the_difference_is_shown_brighter(browser: Browser, tmp_path: Path) -> None:
    page = page_of(tmp_path / "page.html", {"a": plain((100, 100, 100)), "b": plain((105, 100, 90))})
    browser.open(page)
    browser.press("d")
    assert (browser.picture("#stage")[30:-30, 30:-30] == (40, 0, 80)).all()
    browser.click("#difference")
    assert tuple(browser.picture("#stage")[-20, 10]) == (100, 100, 100)


@needs_chromium
def test_plots_show_each_value_and_lead_to_the_frames(browser: Browser, tmp_path: Path) -> None:
    truth = moving_frames(30, 48, 64)
    rng = np.random.default_rng(0)
    noisy = [(frame + rng.normal(0, 1 + n, frame.shape)).clip(0, 255).astype(np.uint8) for n, frame in enumerate(truth)]
    page = page_of(tmp_path / "page.html", {"noisy": noisy, "exact": truth}, truth, ComparisonSettings(frames=4))
    browser.open(page)
    count = "return [...document.querySelectorAll('.plot polyline')].map((line) => line.points.length)"
    assert browser.run(count) == [30] * 4, "PSNR and SSIM of two versions"
    heights = browser.run("return [...document.querySelector('.plot polyline').points].map((point) => point.y)")
    assert heights[0] < heights[15] < heights[29], "more noise, less PSNR"
    lines = [
        int(n)
        for n in browser.run(
            "return [...document.querySelector('.plot').querySelectorAll('.shown')].map((l) => l.dataset.number)"
        )
    ]
    assert len(lines) == 4
    browser.run("document.querySelector('.plot').scrollIntoView()")
    box = browser.run("return document.querySelectorAll('.plot .shown')[2].getBoundingClientRect().toJSON()")
    browser.drag((box["x"] + 3, box["y"] + 20), (box["x"] + 3, box["y"] + 20))
    assert browser.text("frame").startswith(f"Frame {lines[2]},")
    current = browser.run("return [...document.querySelectorAll('.plot .current')].map((line) => line.dataset.number)")
    assert current == [str(lines[2])] * 2


@needs_chromium
@pytest.mark.parametrize("width", [320, 500, 1600])
def test_windows_of_any_width_do(browser: Browser, red_and_blue: Path, width: int) -> None:
    browser.open(red_and_blue, width, 700)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    for selector in ("#stage", "#left", "#right", "#swap", "#zoom-in", "#zoom-fit", "#difference", "#previous", "#next"):
        box = browser.box(selector)
        assert 0 <= box["left"] < box["right"] <= width, selector
    box = browser.box("#stage")
    y = box["y"] + box["height"] / 2
    browser.drag((box["x"] + box["width"] / 2, y), (box["x"] + 0.3 * box["width"], y))
    picture = browser.picture("#stage")
    colored = share_of(RED, picture) + share_of(BLUE, picture)  # a wide window has room beside the picture
    assert share_of(RED, picture) < share_of(BLUE, picture) * 0.8
    assert colored > 0.5


@needs_chromium
def test_long_names_do_not_widen_the_page(browser: Browser, tmp_path: Path) -> None:
    frames = plain(RED)
    browser.open(page_of(tmp_path / "page.html", {"a" * 250: frames, "b " * 120: frames[::-1], "c" * 250: frames}), 360)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    left, right = browser.box("#left-label"), browser.box("#right-label")
    assert left["right"] <= right["left"]


@needs_chromium
def test_dark_and_light(browser: Browser, red_and_blue: Path) -> None:
    levels = []
    for scheme in ("light", "dark"):
        browser.open(red_and_blue, prefers_color_scheme=scheme)
        levels.append(browser.picture("header")[0, -1].mean())
    assert levels[0] > 200
    assert levels[1] < 60


@needs_chromium
def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    page = page_of(tmp_path / "page.html", {"a": plain(RED), HOSTILE.replace("\udcff", "\ufffd"): plain(BLUE)}, plain(GREEN))
    browser.open(page)
    assert browser.errors() == []
    assert browser.run("return document.images.length") == 4 + 3 * 4
    assert browser.run("return document.scripts.length") == 1
    option = browser.run("return document.getElementById('right').selectedOptions[0].textContent")
    assert option == HOSTILE.replace("\udcff", "\ufffd")
    assert tuple(browser.picture("#stage")[-20, -10]) == BLUE
    box = browser.box("#right-label")
    stage = browser.box("#stage")
    assert box["left"] >= stage["left"]


@needs_chromium
def test_the_page_serves_keyboards_and_screen_readers(browser: Browser, red_and_blue: Path) -> None:
    browser.open(red_and_blue)
    nameless = """return [...document.querySelectorAll('button, select, [role=slider], [role=img]')].filter((element) =>
        !(element.ariaLabel || element.innerText || (element.labels && element.labels.length))).length"""
    assert browser.run(nameless) == 0
    browser.run("document.getElementById('edge').focus()")
    browser.press(HOME)
    assert browser.run("return document.getElementById('edge').ariaValueNow") == "0"
    browser.press(END)
    assert browser.run("return document.getElementById('edge').ariaValueNow") == "100"
    browser.run("document.getElementById('left').focus()")
    browser.press(UP)  # the list handles this key
    assert browser.text("frame") == "Frame 0, 0:00:00.00"


def test_the_page_is_never_larger_than_allowed(tmp_path: Path) -> None:
    """The page has so many thumbnails and values that they take a good part of its size."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 90, 160, 3), np.uint8)
    settings = ComparisonSettings(frames=300, measured=300, max_bytes=3_000_000)
    page = page_of(tmp_path / "page.html", {"a": list(noise), "b": list(noise[::-1])}, None, settings)
    assert 2_000_000 < page.stat().st_size <= 3_000_000


def test_without_javascript_all_pictures_are_there_bit_by_bit(tmp_path: Path) -> None:
    frames = [np.random.default_rng(n).integers(0, 256, (20, 31, 3), np.uint8) for n in range(3)]
    other = [255 - frame for frame in frames]
    page = page_of(tmp_path / "page.html", {"a": frames, "b": other}).read_text("utf-8")
    gallery = page[page.index('id="gallery"') :]
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        for content in re.findall('src="data:image/webp;base64,([^"]*)"', gallery)
    ]
    for shown, expected in zip(pictures, [frame for both in zip(frames, other, strict=True) for frame in both], strict=True):
        np.testing.assert_array_equal(shown, expected)
    assert gallery.count("<figcaption><bdi>b</bdi>, frame 2</figcaption>") == 1
