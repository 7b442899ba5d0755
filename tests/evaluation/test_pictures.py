import io

import numpy as np
from PIL import Image

from conftest import MemoryClip
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation.pictures import Details, Region, detailed_region, plot_psnr
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Score, Scoring


def test_the_region_is_where_the_detail_is() -> None:
    lq = np.full((80, 100, 3), 90, np.uint8)
    lq[44:60:2, 60:80] = 200
    region = detailed_region(lq, 4)
    assert region[2:] == (96, 128)
    assert region.top <= 4 * 44
    assert region.top + 96 >= 4 * 60
    assert region.left <= 4 * 60
    assert region.left + 128 >= 4 * 80
    assert detailed_region(lq[:9, :7], 4) == Region(0, 0, 36, 28), "all of a small picture"


def test_details_are_the_same_place_in_every_picture() -> None:
    lq = np.zeros((60, 60, 3), np.uint8)
    lq[31, 40] = 255
    gt = lq.repeat(4, 0).repeat(4, 1)
    pair = ClipPair("clip", MemoryClip([gt] * 3), MemoryClip([lq] * 3), 4, 3)
    details = Details(Scoring(left_out=(1, 1)))
    details.add("other frame", pair, 0, gt)
    details.add("model", pair, 1, gt)
    assert list(details.crops["clip"]) == ["input", "model"]
    np.testing.assert_array_equal(details.crops["clip"]["model"], details.gt["clip"])
    np.testing.assert_array_equal(details.crops["clip"]["input"], details.gt["clip"])
    assert details.gt["clip"].max() == 255
    assert details.sheets()["clip"].width == 3 * 3 * 128 + 2 * 4


def test_the_plot_is_a_picture_that_depends_on_the_figures() -> None:
    def plot(*psnr: float) -> np.ndarray:
        method = Method("small", {"a": {n: Score(value, 0.9) for n, value in enumerate(psnr)}, "b": {0: Score(30, 0.9)}})
        return np.asarray(Image.open(io.BytesIO(plot_psnr([method]))))

    first = plot(20, 25, 28)
    assert first.shape[:2] == (500, 1200)
    assert (first == plot(20, 25, 28)).all()
    assert (first != plot(20, 21, 28)).any()
    plot(20, np.inf, 28)
