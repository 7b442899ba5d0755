"""The measure of scene cuts equals VapourSynth's std.PlaneStats, by which the filter finds them."""

import numpy as np
import vapoursynth as vs

from conftest import moving_frames
from vs_clips import rgb24_clip
from vsedvr.data.luma import luma, luma_difference


def test_luma_and_difference_are_those_of_vapoursynth() -> None:
    frames = [*moving_frames(3, 37, 53), np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)]
    gray = rgb24_clip(frames).resize.Point(format=vs.GRAY8, matrix=vs.MATRIX_BT709, range=vs.RANGE_FULL)
    differences = gray.std.PlaneStats(gray[0] + gray[:-1])
    for n, frame in enumerate(frames):
        assert abs(luma(frame).astype(int) - np.asarray(gray.get_frame(n)[0])).max() <= 1
        if n:
            expected = differences.get_frame(n).props["PlaneStatsDiff"]
            assert abs(luma_difference(luma(frames[n - 1]), luma(frame)) - expected) < 0.1 / 255


def test_the_formula() -> None:
    frame = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (1, 2, 3), (200, 100, 50)]], np.uint8)
    by_hand = frame @ np.array([0.2126, 0.7152, 0.0722])
    assert luma(frame).tolist() == np.rint(by_hand).tolist()
    black, white = np.zeros((4, 6), np.uint8), np.full((4, 6), 255, np.uint8)
    assert luma_difference(black, white) == luma_difference(white, black) == 1
    white[:2] = 0
    assert luma_difference(black, white) == 0.5
