"""A clip made from a still: the camera moves over the picture, and sometimes something moves in front of it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vsedvr.train.clip import Frame

__all__ = ["moving_still"]

SPEED = (0.1, 12.0)
"""Of the camera and of what moves in front of it, in pixels a frame; drawn logarithmically, as slow pans are common."""
TURN = 0.01
ZOOM = 0.01
"""Standard deviations a frame, in radians and as a share of the size."""
OCCLUDED = 0.5
"""Share of clips in which something moves in front."""


def moving_still(still: Frame, num_frame: int, patch: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames of a camera that moves steadily over a random part of a picture at a random size.

    Args:
        still: (h, w, 3), at least patch wide and high.
        num_frame: length of the clip.
        patch: height and width of its frames.
        rng: decides everything.

    Returns:
        (num_frame, patch, patch, 3).

    Raises:
        ValueError: if the picture is smaller than patch.
    """
    scene = _camera(_part(still, patch, rng), num_frame, patch, rng)
    if rng.random() < OCCLUDED:
        front = _camera(_part(still, patch, rng), num_frame, patch, rng)
        scene = [np.where(mask, a, b) for mask, a, b in zip(_masks(num_frame, patch, rng), front, scene, strict=True)]
    return np.stack(scene)


def _part(still: Frame, patch: int, rng: np.random.Generator) -> Frame:
    """A square of the picture, twice as wide as the patch where the picture is large enough, at a random reduction."""
    height, width = still.shape[:2]
    short = min(height, width)
    if short < patch:
        raise ValueError(f"a picture of {width}x{height} is smaller than the patch of {patch}")
    size = min(2 * patch, short)
    taken = int(size * np.exp(rng.uniform(0, np.log(min(short / size, 3)))))
    top, left = rng.integers(height - taken + 1), rng.integers(width - taken + 1)
    part = still[top : top + taken, left : left + taken]
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _camera(picture: Frame, num_frame: int, patch: int, rng: np.random.Generator) -> list[Frame]:
    """The view moves, turns and zooms at a steady rate that changes a little from frame to frame.

    The middle frame shows pixels as they are, so that the sharpest frame is the one that training restores.
    """
    corner = rng.integers(picture.shape[0] - patch + 1, size=2).astype(np.float64)
    half = (patch - 1) / 2
    velocity = _velocity(rng)
    turn, zoom = rng.normal(0, TURN), rng.normal(0, ZOOM)
    frames = []
    for time in np.arange(num_frame) - num_frame // 2:
        # from coordinates of the view to those of the picture: turned and zoomed about the view's middle, then moved
        angle, factor = time * turn, np.exp(time * zoom)
        shake = rng.normal(0, 0.1, 2) * np.linalg.norm(velocity) * (time != 0)
        rotation = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = corner + half + time * velocity + shake - rotation @ (half, half)
        matrix = np.hstack([rotation, shift[:, None]])
        frames.append(_warp(picture, matrix, patch))
    return frames


def _warp(picture: Frame, matrix: NDArray[np.float64], patch: int) -> Frame:
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (patch, patch), flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _velocity(rng: np.random.Generator) -> NDArray[np.float64]:
    speed, direction = np.exp(rng.uniform(*np.log(SPEED))), rng.uniform(0, 2 * np.pi)
    return speed * np.array([np.cos(direction), np.sin(direction)])


def _masks(num_frame: int, patch: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Where the front covers the scene: a polygon that passes through the patch."""
    corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    radius = rng.uniform(0.1, 0.5) * patch * rng.uniform(0.5, 1, len(corners))
    outline = np.stack([np.cos(corners), np.sin(corners)], 1) * radius[:, None]
    centre, velocity = rng.uniform(0, patch, 2), _velocity(rng)
    masks = []
    for time in np.arange(num_frame) - num_frame // 2:
        mask = np.zeros((patch, patch), np.uint8)
        cv2.fillPoly(mask, [np.rint(outline + centre + time * velocity).astype(np.int32)], 1)
        masks.append(mask.astype(bool)[:, :, None])
    return masks
