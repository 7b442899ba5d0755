"""Clips from stills whose pixels tell their position."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vsedvr.train import synthesis
from vsedvr.train.synthesis import moving_still

PATCH = 50
SPEED = (0.1, 12.0)


def map_of(height: int, width: int) -> NDArray[np.uint8]:
    """Makes a picture whose pixels are (2x, 2y, noise)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x, 2 * y, np.random.default_rng(0).integers(0, 256, x.shape)], 2).astype(np.uint8)


def clip_of(
    seed: int, num_frame: int = 5, still: NDArray[np.uint8] | None = None, speed: tuple[float, float] = SPEED
) -> NDArray[np.uint8]:
    still = map_of(100, 100) if still is None else still  # twice the patch: taken whole and not reduced
    return moving_still(still, np.arange(0.0, num_frame) - num_frame // 2, PATCH, speed, np.random.default_rng(seed))


@pytest.mark.parametrize("size", [(100, 100), (50, 50), (51, 400), (333, 512)])
@pytest.mark.parametrize("num_frame", [3, 5, 7])
def test_the_generator_decides_everything(size: tuple[int, int], num_frame: int) -> None:
    still = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    before = still.copy()
    clips = [clip_of(seed, num_frame, still) for seed in range(6)]
    for seed, clip in enumerate(clips):
        assert clip.shape == (num_frame, PATCH, PATCH, 3)
        assert clip.dtype == np.uint8
        assert np.array_equal(clip, clip_of(seed, num_frame, still))
    assert len({clip.tobytes() for clip in clips}) == 6
    assert np.array_equal(still, before)


def test_the_middle_frame_shows_pixels_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "OCCLUDED", 0)
    still = map_of(100, 100)
    for seed in range(10):
        middle = clip_of(seed)[2]
        left, top = middle[0, 0, :2] // 2
        assert np.array_equal(middle, still[top : top + PATCH, left : left + PATCH])


def test_a_large_picture_is_reduced_to_the_mean_of_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "OCCLUDED", 0)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    deviations = [clip_of(seed, still=noise)[2].std() for seed in range(20)]
    assert max(deviations) > 44, "of 74, hardly reduced"
    assert 18 < min(deviations) < 30, "by 3 at most: a third of 74 is 25"


@pytest.mark.parametrize("least", [0.1, 6])
def test_the_camera_moves_steadily(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "OCCLUDED", 0)
    speeds = []
    for seed in range(100):
        around = (
            clip_of(seed, speed=(least, 12))[:, 23:27, 23:27, :2].astype(float).mean((1, 2)) / 2
        )  # where the view's middle looks
        if around.min() < 4 or around.max() > 95:
            continue  # mirrored at the border
        steps = np.diff(around, axis=0)
        speed = np.linalg.norm(steps.mean(0))
        # each position shakes by a tenth of the speed in each direction; what is left is the rounding to 8 bits
        assert np.linalg.norm(steps - steps.mean(0), axis=1).max() < 0.5 * speed + 0.3
        speeds.append(speed)
    assert len(speeds) > 30
    assert max(speeds) < 12 * 1.3
    assert least * 0.7 - 0.3 < min(speeds) < least + 0.4
    assert sum(speed > 3 for speed in speeds) > 13


def test_between_frames_it_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        clip = clip_of(seed)
        fine = moving_still(map_of(100, 100), np.linspace(-2, 2, 13), PATCH, SPEED, np.random.default_rng(seed))
        assert np.array_equal(fine[::3], clip)
    monkeypatch.setattr(synthesis, "OCCLUDED", 0)
    measured = 0
    for seed in range(80):
        fine = moving_still(map_of(100, 100), np.linspace(-2, 2, 13), PATCH, (6, 12), np.random.default_rng(seed))
        around = fine[:, 23:27, 23:27, :2].astype(float).mean((1, 2)) / 2
        if around.min() < 4 or around.max() > 95:
            continue  # mirrored at the border
        for start in range(0, 12, 3):
            steps = np.diff(around[start : start + 4], axis=0)
            np.testing.assert_allclose(steps, np.tile(steps.mean(0), (3, 1)), atol=0.75)  # seen in steps of 0.5
        measured += 1
    assert measured > 10


def test_what_moves_in_front_takes_its_outline_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "TURN", 0)
    monkeypatch.setattr(synthesis, "ZOOM", 0)
    y, x = np.mgrid[:PATCH, :PATCH]
    measured = 0
    for seed in range(40):
        velocities = iter([np.zeros(2), np.zeros(2), np.array([4.0, 0.0])])  # of the scene twice, and of what is in front
        monkeypatch.setattr(synthesis, "_velocity", lambda *_, velocities=velocities: next(velocities))
        monkeypatch.setattr(synthesis, "OCCLUDED", 0)
        scene = clip_of(seed, 3)
        monkeypatch.setattr(synthesis, "OCCLUDED", 1)
        clip = clip_of(seed, 3)
        fronts = [(frame != behind).any(2) for frame, behind in zip(clip, scene, strict=True)]
        edges = [front[[0, -1]].any() or front[:, [0, -1]].any() for front in fronts]
        if any(edges) or not all(front.sum() > 60 for front in fronts):
            continue
        centres = [np.array([x[front].mean(), y[front].mean()]) for front in fronts]
        content = [frame[front][:, :2].mean(0) / 2 - centre for frame, front, centre in zip(clip, fronts, centres, strict=True)]
        for before, after in ((0, 1), (1, 2)):
            moved = centres[after] - centres[before]
            np.testing.assert_allclose(moved, [-4, 0], atol=2)  # the camera in front moves to the right, and shakes
            np.testing.assert_allclose(moved, content[before] - content[after], atol=0.7)
        measured += 1
    assert measured >= 4


def test_a_picture_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="a picture of 60x49 is smaller than the patch of 50"):
        clip_of(0, still=map_of(49, 60))
