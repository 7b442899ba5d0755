"""Makes a clip from a still: the camera moves over the picture, and sometimes a piece of it moves in front of the rest."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vsedvr.data.clip import Frame

__all__ = ["moving_still"]

TURN = 0.01
"""Standard deviation of the camera's rotation per frame, in radians."""
ZOOM = 0.01
"""Standard deviation of the camera's zoom per frame, relative to the size."""
SHAKE = 0.1
"""Standard deviation of a frame's position in each direction, relative to the speed."""
OCCLUDED = 0.5
"""Share of clips in which something moves in front of the rest."""

Corner = tuple[int, int]
"""Position (x, y) in pixels."""


def moving_still(
    still: Frame, times: NDArray[np.float64], patch: int, speed: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Renders what a camera sees that moves steadily over a random part of a picture.

    Args:
        still: picture (h, w, 3), uint8, at least `patch` wide and high.
        times: times (t,) to render, in frame intervals relative to the middle frame, which shows pixels as they are; fractions
            are times between frames.
        patch: height and width of the result in pixels.
        speed: smallest and largest speed of the camera, and of what moves in front, in pixels per frame; drawn logarithmically,
            because slow pans are common.
        rng: source of everything random.

    Returns:
        Frames (t, patch, patch, 3), uint8.

    Raises:
        ValueError: if the picture is smaller than `patch`.
    """
    part = _part(still, patch, rng)
    scene = _camera(part, _corner(part, patch, rng), times, patch, speed, rng)
    if rng.random() < OCCLUDED:
        part = _part(still, patch, rng)
        corner = _corner(part, patch, rng)
        piece = np.dstack([part, _mask(part, corner, patch, rng)])
        front = _camera(piece, corner, times, patch, speed, rng)
        return np.where(front[..., 3:] > 127, front[..., :3], scene)
    return scene


def _part(still: Frame, patch: int, rng: np.random.Generator) -> Frame:
    """Cuts out a random square, reduced by a random factor: (size, size, 3), twice as wide as the patch if there is room."""
    height, width = still.shape[:2]
    short = min(height, width)
    if short < patch:
        raise ValueError(f"a picture of {width}x{height} is smaller than the patch of {patch}")
    size = min(2 * patch, short)
    taken = int(size * np.exp(rng.uniform(0, np.log(min(short / size, 3)))))
    top, left = rng.integers(height - taken + 1), rng.integers(width - taken + 1)
    part = still[top : top + taken, left : left + taken]
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _corner(part: Frame, patch: int, rng: np.random.Generator) -> Corner:
    """Draws the position in the part of the top left corner of the camera's view in the middle frame."""
    x, y = rng.integers(part.shape[0] - patch + 1, size=2)
    return int(x), int(y)


def _camera(
    picture: Frame, corner: Corner, times: NDArray[np.float64], patch: int, speed: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Renders what a camera sees that moves, turns and zooms at steady rates, with slight changes from frame to frame.

    At time 0 it shows the picture's pixels, beginning at `corner`, unchanged. So the sharpest frame is the one that training
    restores.

    Returns:
        Frames (t, patch, patch, c).
    """
    half = (patch - 1) / 2
    velocity = _velocity(speed, rng)
    turn, zoom = rng.normal(0, TURN), rng.normal(0, ZOOM)
    frames = np.arange(np.floor(times.min()), np.ceil(times.max()) + 1)
    shakes = rng.normal(0, SHAKE, (2, len(frames))) * np.linalg.norm(velocity) * (frames != 0)
    views = []
    for time in times:
        # From coordinates of the view to those of the picture: rotated and zoomed about the view's middle, then moved
        angle, factor = time * turn, np.exp(time * zoom)
        shake = [np.interp(time, frames, axis) for axis in shakes]
        rotation = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.add(corner, half) + time * velocity + shake - rotation @ (half, half)
        matrix = np.hstack([rotation, shift[:, None]])
        views.append(_warp(picture, matrix, patch))
    return np.stack(views)


def _warp(picture: Frame, matrix: NDArray[np.float64], patch: int) -> Frame:
    """Renders a view (patch, patch, c) whose point (x, y) shows the picture at matrix (2, 3) times (x, y, 1)."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (patch, patch), flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _velocity(speed: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws a velocity (x, y), in pixels per frame."""
    length, direction = np.exp(rng.uniform(*np.log(speed))), rng.uniform(0, 2 * np.pi)
    return length * np.array([np.cos(direction), np.sin(direction)])


def _mask(part: Frame, corner: Corner, patch: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Makes a mask (h, w) of the part: 255 in a random polygon within the view at time 0, and 0 elsewhere."""
    corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    radius = rng.uniform(0.1, 0.5) * patch * rng.uniform(0.5, 1, len(corners))
    outline = np.stack([np.cos(corners), np.sin(corners)], 1) * radius[:, None]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(outline + corner + rng.uniform(0, patch, 2)).astype(np.int32)], 255)
    return mask
