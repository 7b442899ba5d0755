"""Temporal consistency against figures known by hand, and against a plain implementation, pixel by pixel."""

import math
import weakref
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import MemoryClip, moving_frames
from vsedvr.compare.metrics import rgb_to_y
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation import temporal
from vsedvr.evaluation.evaluate import evaluate, evaluate_clip, mean_score
from vsedvr.evaluation.pair_restorer import baseline
from vsedvr.evaluation.scoring import Scoring, Temporal
from vsedvr.evaluation.temporal import can_be_followed, dis_flow, farneback_flow, measure_temporal

Y, RGB = Scoring(y_channel=True, temporal=True), Scoring(temporal=True)
INSIDE = Scoring(border=20, temporal=True)
"""Scoring without a border of 20 pixels, from which pixels may move out of the picture."""


def soft(frames: Sequence[Frame]) -> list[Frame]:
    """Frames without values that something added could clip."""
    return [(frame // 2 + 60).astype(np.uint8) for frame in frames]


def two_motions() -> tuple[Frame, Frame]:
    """A square that moves by (-2, 3) before a ground that moves by (1, 1), in noise."""
    rng = np.random.default_rng(1)
    ground, square = moving_frames(2, 36, 48, (1, 1)), moving_frames(2, 14, 14, (0, 0))
    for n, frame in enumerate(ground):
        top, left = 16 - 2 * n, 12 + 3 * n
        frame[top : top + 14, left : left + 14] = 255 - square[n]
    a, b = (np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8) for frame in ground)
    return a, b


def measured(restored: Sequence[Frame], gt: Sequence[Frame], scoring: Scoring) -> Temporal:
    figures = measure_temporal((restored[0], restored[1]), (gt[0], gt[1]), scoring)
    assert figures
    return figures


@pytest.mark.parametrize("flow", [dis_flow, farneback_flow])
def test_the_flow_is_the_motion(flow: Callable[[Frame, Frame], temporal.Flow]) -> None:
    a, b = moving_frames(2, 96, 112, (1, 2))
    np.testing.assert_allclose(flow(a, b)[20:-20, 20:-20], np.broadcast_to([2.0, 1.0], (56, 72, 2)), atol=0.03)


def test_an_exact_restoration_moves_as_the_truth() -> None:
    gt = two_motions()
    figures = measured([frame.copy() for frame in gt], gt, RGB)
    assert figures.tof == 0
    assert figures.warped_difference == figures.gt_warped_difference > 0


def test_a_restoration_in_another_place_moves_as_the_truth() -> None:
    frames = moving_frames(6, 96, 112, (1, 2))
    figures = measured(frames[3:5], frames[:2], INSIDE)
    assert figures.tof < 0.01
    assert figures.warped_difference < 1e-5
    assert figures.gt_warped_difference < 1e-5


def test_other_motion_is_told_in_pixels() -> None:
    """The truth moves by (1, 2) and the restored frames by (1, 2) + (4, -3) = (5, -1): 5 pixels more."""
    gt, restored = moving_frames(2, 96, 112, (1, 2)), moving_frames(2, 96, 112, (5, -1))
    assert measured(restored, gt, INSIDE).tof == pytest.approx(5, abs=0.02)


@pytest.mark.parametrize(("scoring", "step"), [(RGB, 10 / 255), (Y, 10 * 219 / 255 / 255)])
def test_flicker_is_added_to_the_warped_difference(scoring: Scoring, step: float) -> None:
    """The truth stands still, while the restored frames become brighter by 10 of 255."""
    still = soft(moving_frames(1, 32, 40)) * 2
    figures = measured([still[0], still[1] + np.uint8(10)], still, scoring)
    assert figures.warped_difference == pytest.approx(step**2, rel=1e-5)
    assert figures.gt_warped_difference == 0


def test_flicker_is_added_where_the_truth_moves_as_well() -> None:
    """Frames are warped by the truth's flow, so that flicker cannot hide behind a motion of its own."""
    gt = soft(moving_frames(2, 96, 112, (1, 2)))
    rng = np.random.default_rng(0)
    signs = rng.choice([-10, 10], gt[0].shape)
    figures = measured([gt[0], (gt[1] + signs).astype(np.uint8)], gt, INSIDE)
    assert figures.warped_difference - figures.gt_warped_difference == pytest.approx((10 / 255) ** 2, rel=0.01)


def test_a_pixel_is_followed_within_the_picture_where_both_flows_agree_and_away_from_other_motion() -> None:
    there = np.full((20, 30, 2), (3, -2), np.float32)
    expected = np.zeros((20, 30), bool)
    expected[:18, 3:] = True  # what came from the left, or from below, was not in the picture
    np.testing.assert_array_equal(can_be_followed(there, -there), expected)

    other = there.copy()
    other[6, 9] += 1  # |(1, 1)|^2 = 2 is more than 0.01 (16 + 1 + 13) + 0.5
    expected[4, 12] = False  # the pixel that came from there
    np.testing.assert_array_equal(can_be_followed(other, -there), expected)

    back = np.zeros((20, 30, 2), np.float32)
    back[:, 15:, 0] = 0.05  # a step of 0.05^2 = 0.0025 is more than 0.002
    expected = np.ones((20, 30), bool)
    expected[:, [14, 29]] = False  # left of the step, and what came from beyond the right side
    np.testing.assert_array_equal(can_be_followed(-back, back), expected)
    back[:, 15:, 0] = 0.04
    expected[:, 14] = True
    np.testing.assert_array_equal(can_be_followed(-back, back), expected)


def plain_flows(a: Frame, b: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Farneback's and DIS."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    gray = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (a, b)]
    farneback = cv2.calcOpticalFlowFarneback(gray[0], gray[1], None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    return farneback, np.asarray(dis.calc(gray[0], gray[1], None), np.float32)  # type: ignore[call-overload]


def plain_sample(picture: NDArray[np.floating], x: float, y: float) -> NDArray[np.float64]:
    """Bilinear, in a picture whose edge pixels go on outside of it."""
    height, width = picture.shape[:2]
    total = np.zeros(picture.shape[2:])
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - i)) * (1 - abs(x - j))
            total = total + weight * picture[min(max(i, 0), height - 1), min(max(j, 0), width - 1)].astype(np.float64)
    return total


def plain_measure(restored: Sequence[Frame], gt: Sequence[Frame], scoring: Scoring) -> tuple[float, float, float]:
    """The three figures from their definitions, one pixel after the other."""
    height, width = gt[0].shape[:2]
    (motion, there), (_, back) = plain_flows(gt[0], gt[1]), plain_flows(gt[1], gt[0])
    of_restored, _ = plain_flows(restored[0], restored[1])
    differences: list[float] = []
    squares: list[float] = []
    of_gt: list[float] = []
    for i in range(scoring.border, height - scoring.border):
        for j in range(scoring.border, width - scoring.border):
            differences.append(math.hypot(*(of_restored[i, j] - motion[i, j])))
            b = back[i, j].astype(np.float64)
            x, y = float(np.float32(j) + back[i, j, 0]), float(np.float32(i) + back[i, j, 1])
            f = plain_sample(there, x, y)
            gradient = sum(
                np.square(back[m, n].astype(np.float64) - b).sum()
                for m, n in ((i + 1, j), (i, j + 1))
                if m < height and n < width
            )
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                continue
            if np.square(f + b).sum() > 0.01 * (f @ f + b @ b) + 0.5 or gradient > 0.01 * (b @ b) + 0.002:
                continue
            for frames, into in ((restored, squares), (gt, of_gt)):
                before, here = (rgb_to_y(frame) / 255 if scoring.y_channel else frame / 255 for frame in frames)
                into.append(np.square(plain_sample(before, x, y) - here[i, j]).mean())
    assert height * width / 4 < len(squares) < len(differences), "some pixels cannot be followed"
    return float(np.mean(differences)), float(np.mean(squares)), float(np.mean(of_gt))


@pytest.mark.parametrize("scoring", [RGB, Scoring(y_channel=True, border=3, temporal=True)])
def test_figures_are_those_of_a_plain_implementation(scoring: Scoring) -> None:
    gt = two_motions()
    restored = [cv2.GaussianBlur(frame, (5, 5), 1.5).astype(np.uint8) for frame in gt]
    figures = measured(restored, gt, scoring)
    np.testing.assert_allclose(figures, plain_measure(restored, gt, scoring), rtol=1e-4)
    assert figures.tof > 0.05
    assert figures.warped_difference < figures.gt_warped_difference, "blur hides the noise"


def test_where_no_pixel_can_be_followed_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(there: temporal.Flow, back: temporal.Flow) -> NDArray[np.bool_]:
        return np.arange(36)[:, None] < 3 * np.ones(48)

    gt = two_motions()
    monkeypatch.setattr(temporal, "can_be_followed", nowhere)
    assert measure_temporal(gt, gt, RGB)
    assert measure_temporal(gt, gt, Scoring(border=3, temporal=True)) is None, "of the pixels that count"


def flickering(step: int) -> tuple[ClipPair, list[Frame]]:
    """A clip of the truth's size in which every other frame is brighter, and its truth."""
    gt = soft(moving_frames(7, 40, 48, (1, 1)))
    lq = [frame + np.uint8(step * (n % 2)) for n, frame in enumerate(gt)]
    return ClipPair("clip", MemoryClip(gt), MemoryClip(lq, (0, 4)), 1, 7), gt


def test_a_clip_is_measured_between_cuts_and_between_frames_that_count() -> None:
    pair, gt = flickering(10)
    scoring = Scoring(left_out=(1, 1), temporal=True)
    scores = evaluate_clip(baseline, pair, scoring)
    assert [n for n, score in scores.items() if score.temporal] == [2, 3, 5], "not 1, before which nothing counts, nor the cut"
    assert scores[3].temporal == measure_temporal((pair.lq_frame(2), pair.lq_frame(3)), (gt[2], gt[3]), scoring)
    without = evaluate_clip(baseline, pair, Scoring(left_out=(1, 1)))
    assert all(score.temporal is None for score in without.values())
    assert [score[:2] for score in without.values()] == [score[:2] for score in scores.values()]


def test_sizes_that_do_not_divide_by_the_scale_are_cropped() -> None:
    frames = moving_frames(2, 51, 66, (1, 2))
    scores = evaluate(baseline, [ClipPair("clip", MemoryClip(frames), None, 4, 2)], Y)["clip"]
    whole = ClipPair("clip", MemoryClip([frame[:48, :64].copy() for frame in frames]), None, 4, 2)
    assert scores == evaluate(baseline, [whole], Y)["clip"]
    assert scores[1].temporal


def test_stronger_flicker_is_less_consistent() -> None:
    of_clips = [mean_score(evaluate_clip(baseline, flickering(step)[0], RGB).values()).temporal for step in (0, 5, 20)]
    none, weak, strong = (figures for figures in of_clips if figures)
    assert none.tof == 0
    assert none.warped_difference == none.gt_warped_difference
    added = [figures.warped_difference - figures.gt_warped_difference for figures in (weak, strong)]
    assert added == pytest.approx([(5 / 255) ** 2, (20 / 255) ** 2], rel=0.05)


def test_a_clip_of_one_frame_has_no_figure() -> None:
    pair = ClipPair("clip", MemoryClip(moving_frames(1, 32, 40)), None, 4, 1)
    (score,) = evaluate(baseline, [pair], RGB)["clip"].values()
    assert score.temporal is None
    assert score.psnr > 20


def test_no_more_than_two_frames_are_held() -> None:
    pair, _ = flickering(10)
    given: list[weakref.ref[Frame]] = []

    def restore(pair: ClipPair, n: int) -> Frame:
        frame = pair.lq_frame(n).copy()
        given.append(weakref.ref(frame))
        return frame

    def look(pair: ClipPair, n: int, restored: Frame) -> None:
        assert sum(ref() is not None for ref in given) <= 2

    evaluate_clip(restore, pair, RGB, on_frame=look)
    assert len(given) == 7
