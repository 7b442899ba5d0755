import re
from xml.etree import ElementTree

import pytest

from vsedvr.compare.plot import line_plot


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def points(svg: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.attrib["points"].split() for line in svg.iter("polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in line)] for line in lines]


def labels(svg: ElementTree.Element, kind: str) -> dict[float, float]:
    """Returns the numbers at an axis by their positions."""
    texts = [text for text in svg.iter("text") if text.attrib["class"] == kind]
    where = "y" if kind == "value" else "x"
    return {float(text.text or ""): float(text.attrib[where]) - 4 * (kind == "value") for text in texts}


@pytest.mark.parametrize("values", [[30.0, 35.0, 32.5], [0.9712, 0.9713, 0.9716], [100.0] * 3, [0.0] * 3, [1e-4, 250.0, 3.0]])
def test_each_point_stands_where_the_axes_say(values: list[float]) -> None:
    svg = parse(line_plot("PSNR (dB)", [10, 20, 30], {"a": values}, [20]))
    (line,) = points(svg)
    for kind, axis, numbers in (("number", 0, [10, 20, 30]), ("value", 1, values)):
        (low, at_low), *_, (high, at_high) = sorted(labels(svg, kind).items())
        assert low < high
        for number, point in zip(numbers, line, strict=True):
            expected = at_low + (number - low) / (high - low) * (at_high - at_low)
            assert point[axis] == pytest.approx(expected, abs=0.5)
    assert all(12 <= y <= 240 for _, y in line)


@pytest.mark.parametrize("numbers", [[0], [0, 1], [5, 6, 7], list(range(0, 170_000, 850))])
def test_numbers_at_the_axis_are_frames_of_the_clip(numbers: list[int]) -> None:
    svg = parse(line_plot("SSIM", numbers, {"a": [0.5] * len(numbers)}, numbers[:1]))
    shown = list(labels(svg, "number"))
    assert 1 <= len(shown) <= 17
    assert all(n == int(n) and numbers[0] <= n <= numbers[-1] for n in shown)


def test_names_are_text_and_shown_frames_are_marked() -> None:
    svg = parse(line_plot("<b>", [0, 1, 2], {'"</svg><script>': [1, 2, 3], "b": [3, 2, 1]}, [0, 2], start=7))
    assert [group.attrib["class"] for group in svg.iter("g")] == ["color7", "color0"]
    assert [title.text for title in svg.iter("title")] == ['"</svg><script>', "b"]
    assert [line.attrib["data-number"] for line in svg.iter("line") if line.attrib["class"] == "shown"] == ["0", "2"]
    assert re.match("<b>", svg.attrib["aria-label"])
