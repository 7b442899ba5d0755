"""vsedvr compare, from its arguments to its page."""

import base64
import io
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import moving_frames, random_model, write_frames
from vsedvr.cli import main
from vsedvr.compare.metrics import psnr, rgb_to_y
from vsedvr.data.clip import open_clip
from vsedvr.data.lossless import lossless_video
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.infer import Engine, clip_windows
from vsedvr.model import EDVR, EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a clip of 12 frames as a folder and as a video, and the same clip with noise."""
    folder = tmp_path_factory.mktemp("clips")
    frames = moving_frames(12, 32, 48)
    write_frames(folder / "clean", frames)
    rng = np.random.default_rng(0)
    for name, level in (("clean", 0), ("noisy", 5)):
        with lossless_video(folder / f"{name}.mkv", 32, 48) as write:
            for frame in frames:
                write((frame + rng.normal(0, level, frame.shape)).clip(0, 255).astype(np.uint8) if level else frame)
    return folder


def pictures(page: Path) -> dict[tuple[int, int], np.ndarray]:
    """Reads the pictures of a page, by frame and version."""
    pattern = r'<figure data-frame="(\d+)" data-version="(\d+)".*?src="data:image/webp;base64,([^"]*)"'
    found = re.findall(pattern, page.read_text("utf-8"))
    return {(int(n), int(k)): np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) for n, k, content in found}


def names(page: Path) -> list[str]:
    options = re.search('<select id="left">(.*?)</select>', page.read_text("utf-8"), re.DOTALL)
    assert options
    return [unescape(name) for name in re.findall("<option[^>]*>([^<]*)</option>", options[1])]


def test_two_videos_and_their_truth(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsedvr.cli.progress.SHORT", 0)
    page = tmp_path / "new" / "page.html"
    args = [str(folder / "noisy.mkv"), str(folder / "clean.mkv"), "--truth", str(folder / "clean"), "-o", str(page)]
    assert main(["compare", *args, "--frames", "4"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "frames compared: 24 of 24" in err
    assert f"{page}: 4 frames, 0.1 MB" in err
    assert names(page) == ["noisy.mkv", "clean.mkv", "clean"]
    shown = pictures(page)
    assert {k for _, k in shown} == {0, 1, 2}
    numbers = sorted({n for n, _ in shown})
    assert len(numbers) == 4
    truth = moving_frames(12, 32, 48)
    text = page.read_text("utf-8")
    for n in numbers:
        np.testing.assert_array_equal(shown[n, 1], truth[n])
        np.testing.assert_array_equal(shown[n, 2], truth[n])
        value = psnr(rgb_to_y(shown[n, 0]), rgb_to_y(truth[n]))
        assert f'<figure data-frame="{n}" data-version="0" data-text="{value:.2f} dB, SSIM ' in text
        assert f'data-number="{n}" title="Frame {n}, 0:00:{n / 25:05.2f}' in text, "25 frames a second"


def test_models_restore_the_frames_that_are_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page shows frames as the engine restores them, with models of scale 1 and 4 resized to the same size."""
    models: dict[str, EDVR] = {"x1": random_model(), "x4": random_model(X4)}
    for name, model in models.items():
        torch.save({"params": model.state_dict()}, tmp_path / f"{name}.pth")
    page = tmp_path / "page.html"
    args = [arg for name in models for arg in ("--model", str(tmp_path / f"{name}.pth"))]
    assert (
        main(["compare", str(folder / "noisy.mkv"), *args, "--frames", "3", "-o", str(page), "--device", "cpu", "--quiet"]) == 0
    )
    assert names(page) == ["noisy.mkv", "x1", "x4"]
    assert "frames compared" not in capsys.readouterr().err
    shown = pictures(page)
    assert sorted({n for n, _ in shown}) == [2, 6, 10]
    clip = open_clip(folder / "noisy.mkv", None)
    for (n, k), picture in shown.items():
        assert picture.shape == (128, 192, 3)
        frame = clip[n]
        if k:
            model = models[f"x{1 if k == 1 else 4}"]
            window = clip_windows(model.config, len(clip)).indices(n)
            frame = to_frame(Engine(model).restore(window, lambda i: to_tensor(clip[i])))
        expected = np.asarray(Image.fromarray(frame).resize((192, 128), Image.Resampling.BICUBIC)) if k < 2 else frame
        assert np.abs(picture.astype(int) - expected).max() <= (1 if k else 0)
    assert "x4, 0.0 million parameters" in page.read_text("utf-8")


def test_an_embedded_model_by_its_name_and_a_folder_of_that_name(tmp_path: Path) -> None:
    write_frames(tmp_path / "denoise", moving_frames(2, 16, 16))
    page = tmp_path / "page.html"
    args = ["--model", "denoise", "--frames", "1", "-o", str(page), "--device", "cpu"]
    assert main(["compare", str(tmp_path / "denoise"), *args]) == 0
    assert names(page) == ["denoise", "denoise (model)"]
    assert "Gaussian noise, of the luma, x1, " in page.read_text("utf-8")


def test_a_second_stage_and_an_ensemble_stand_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "clip", moving_frames(2, 16, 16))
    page = tmp_path / "page.html"
    args = ["compare", str(tmp_path / "clip"), "--refine", "deblur", "--ensemble", "4", "-o", str(page), "--device", "cpu"]
    assert main([*args, "--model", "denoise", "--frames", "1"]) == 0
    assert "Gaussian noise, of the luma, refined by deblur, self-ensemble of 4, x1, " in page.read_text("utf-8")
    assert main([*args, "--model", "denoise", "--refine", "small"]) == 1
    assert "refine must be a model that keeps the size" in capsys.readouterr().err
    assert main([*args, "--truth", str(tmp_path / "clip")]) == 1
    assert "--refine and --ensemble are for frames that --model restores" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>",
        "\"'&amp;$title",
        "<!-- pictures -->",
        "a\n\u202eb",
        b"\xff".decode("utf-8", "surrogateescape"),
    ],
)
def test_any_file_name_is_shown_as_text(tmp_path: Path, name: str) -> None:
    page = tmp_path / "page.html"
    try:
        write_frames(tmp_path / name, moving_frames(2, 16, 16))
    except OSError:
        pytest.skip("the file system has no such names")
    write_frames(tmp_path / "b", moving_frames(2, 16, 16))
    assert main(["compare", str(tmp_path / name), str(tmp_path / "b"), "-o", str(page)]) == 0
    (shown, other) = names(page)
    expected = name.replace("\n", " ").replace("\u202e", "\ufffd").replace("\udcff", "\ufffd")
    assert (shown, other) == (expected, "b")
    text = page.read_text("utf-8")
    assert text.count("<script") == 1
    assert "<img src=x" not in text


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for parent in ("before", "after"):
        write_frames(tmp_path / parent / "clip", moving_frames(2, 16, 16))
    page = tmp_path / "page.html"
    assert main(["compare", str(tmp_path / "before/clip"), str(tmp_path / "after/clip"), "-o", str(page)]) == 0
    assert names(page) == [str(tmp_path / "before/clip"), str(tmp_path / "after/clip")]


def test_names_that_differ_in_what_cannot_be_shown_are_numbered(tmp_path: Path) -> None:
    for name in ("a\u200e", "a\u200f"):
        write_frames(tmp_path / name, moving_frames(2, 16, 16))
    page = tmp_path / "page.html"
    assert main(["compare", str(tmp_path / "a\u200e"), str(tmp_path / "a\u200f"), "-o", str(page)]) == 0
    assert names(page) == [f"{tmp_path}/a\ufffd (1)", f"{tmp_path}/a\ufffd (2)"]


def test_an_old_page_is_replaced_only_by_a_whole_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    args = ["compare", str(folder / "noisy.mkv"), str(folder / "clean"), "-o", str(page), "--quiet"]

    def full(*args: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vsedvr.compare.page.data_uri", full)
        assert main(args) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert page.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert main(args) == 0
    assert len(pictures(page)) == 16


def test_by_default_the_page_lies_here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(folder / "noisy.mkv"), "--truth", str(folder / "clean.mkv"), "--measure", "6"]) == 0
    assert len(pictures(tmp_path / "compare.html")) == 16
    assert "8 of 12 frames" in (tmp_path / "compare.html").read_text("utf-8")


def test_errors_come_in_one_line_and_leave_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, noisy, page = str(folder / "clean"), str(folder / "noisy.mkv"), str(tmp_path / "page.html")

    def error_of(*args: str) -> str:
        assert main(["compare", "-o", page, "--quiet", *args]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("vsedvr compare: ")
        return line

    assert "nothing to compare the clip with; give a second one, --truth or --model" in error_of(clean)
    assert "--model restores one clip, and there are 2" in error_of(clean, noisy, "--model", "small")
    assert "is given twice" in error_of(clean, clean)
    assert "nowhere" in error_of(clean, str(tmp_path / "nowhere"))
    assert "no checkpoint at 'missing'" in error_of(clean, "--model", "missing")
    assert f"the page {noisy} must have a name that ends in .html" in error_of(clean, noisy, "-o", noisy)
    (tmp_path / "folder.html").mkdir()
    assert "is a folder; give the page another name" in error_of(clean, noisy, "-o", str(tmp_path / "folder.html"))
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    assert "broken.mkv" in error_of(clean, str(tmp_path / "broken.mkv"))
    write_frames(tmp_path / "damaged", moving_frames(3, 32, 48))
    (tmp_path / "damaged" / "00000001.png").write_bytes(b"no picture")
    assert "00000001.png" in error_of(clean, str(tmp_path / "damaged"))
    assert not Path(page).exists()


@pytest.mark.parametrize("option", ["--frames", "--measure", "--max-size"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", ""])
def test_wrong_numbers_are_wrong_usage(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compare", "a", "b", f"{option}={value}"])
    assert end.value.code == 2
    assert f"must be a whole number, 1 or more, got {value!r}" in capsys.readouterr().err
