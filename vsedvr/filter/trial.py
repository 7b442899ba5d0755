"""Tries the whole filter on an artificial clip and compares the result with known values."""

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsedvr.filter.door import edvr
from vsedvr.finding import Finding

__all__ = ["FIGURES", "moving_clip", "samples", "trial"]

SIZE = 64, 48
NUM_FRAMES = 5
POINTS = 8
"""Number of samples of each frame that are compared, spread evenly over its planes, rows and columns."""

FIGURES = {
    "small": (
        (156.8, 38.5, 6.9, 86.0, 179.1, 104.3, 188.0, 240.0),
        (205.3, 94.7, 153.6, 55.1, 152.0, 150.3, 208.7, 169.7),
        (213.5, 61.2, 248.5, 39.4, 23.4, 241.2, 217.0, 195.0),
        (181.1, 154.1, 182.9, 61.5, 102.0, 222.7, 245.8, 157.7),
        (16.7, 255.0, 185.7, 6.2, 227.2, 92.4, 79.1, 39.7),
    ),
    "x2": (
        (158.8, 38.4, 12.4, 102.8, 170.1, 108.5, 194.7, 222.0),
        (204.5, 100.6, 134.7, 51.1, 171.9, 131.2, 202.5, 191.4),
        (213.6, 76.8, 235.9, 46.0, 38.6, 236.6, 212.4, 197.0),
        (166.4, 133.4, 195.4, 33.9, 85.6, 231.6, 226.0, 175.8),
        (34.7, 244.4, 206.5, 23.1, 207.5, 110.6, 88.8, 45.1),
    ),
    "compression": (
        (139.7, 8.8, 5.4, 112.7, 165.3, 110.9, 181.2, 230.7),
        (216.4, 74.2, 97.6, 47.8, 199.5, 101.0, 203.0, 230.2),
        (231.8, 70.0, 244.2, 41.4, 58.9, 239.6, 209.2, 204.4),
        (196.2, 81.4, 212.5, 41.2, 53.3, 244.2, 243.3, 192.0),
        (41.7, 255.0, 206.2, 37.9, 191.6, 113.7, 114.1, 38.8),
    ),
}
"""Expected samples of each frame (NUM_FRAMES, POINTS) for each model, on a scale of 255.

When a model changes, tests/filter/test_trial.py shows the new values.
"""

TOLERANCE = 0.7
"""Root mean square difference allowed. fp16 differs by 0.05 and bf16 by 0.35; a wrong operator by more than 1.4."""


def moving_clip(width: int, height: int, num_frames: int, format: int) -> vs.VideoNode:
    """Makes a clip of a texture that moves by two pixels a frame. It consists of integers, so it is the same everywhere.

    Args:
        width, height: size of the frames in pixels; even if chroma is subsampled.
        num_frames: number of frames.
        format: 8-bit format, such as vs.RGB24 or vs.YUV420P8.
    """
    core = vs.core
    way = 2 * (num_frames - 1)
    blank = core.std.BlankClip(width=width + way, height=height + way, format=format, length=1, keep=True)
    picture = core.create_video_frame(blank.format, blank.width, blank.height)
    for plane in range(blank.format.num_planes):
        samples = np.asarray(picture[plane])
        np.copyto(samples, _texture(samples.shape[0], samples.shape[1], plane))
    still = blank.std.ModifyFrame(blank, lambda n, f: picture)
    crops = [still.std.CropAbs(width, height, 2 * n, 2 * n) for n in range(num_frames)]
    clip = core.std.Splice(crops) if num_frames > 1 else crops[0]
    return clip.std.SetFrameProps(_Matrix=vs.MATRIX_BT709) if blank.format.color_family == vs.YUV else clip


def trial(device_index: int) -> Finding:
    """Restores the clip on a device with one model of each scale, and compares samples of the result with FIGURES.

    Args:
        device_index: number of the GPU; -1 is the CPU.
    """
    name = f"{NUM_FRAMES} frames on {'cpu' if device_index == -1 else f'cuda:{device_index}'}"
    differences = {}
    for model, figures in FIGURES.items():
        try:
            difference = samples(model, device_index) - figures
        except vs.Error as error:
            return Finding(name, f"{model} stops with an error: {error}", "docs/messages.md tells what it means", broken=True)
        differences[model] = float(np.sqrt(np.mean(difference**2)))
    text = ", ".join(f"{model} {difference:.2f}" for model, difference in differences.items())
    if all(difference <= TOLERANCE for difference in differences.values()):
        return Finding(name, f"restored as they must be (difference of 255: {text})")
    advice = "mend what is broken above first; if nothing is, report this output as a fault of vsedvr"
    return Finding(name, f"wrong pictures (difference of 255: {text}; {TOLERANCE} is allowed)", advice, broken=True)


def samples(model: str, device_index: int) -> NDArray[np.float64]:
    """Restores the clip with a model and returns samples of the result, on a scale of 255.

    Returns:
        Samples (NUM_FRAMES, POINTS).
    """
    clip = edvr(moving_clip(*SIZE, NUM_FRAMES, vs.RGB24), model=model, device_index=device_index, output_format=vs.RGBS)
    frames = [np.stack([np.asarray(frame[plane]) for plane in range(3)]) for frame in clip.frames(close=True)]
    places = np.linspace(0, frames[0].size - 1, POINTS + 2).astype(int)[1:-1]
    return np.stack([255.0 * frame.ravel()[places] for frame in frames])


def _texture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Makes a texture: random values on a grid of four pixels, with linear interpolation between."""
    rows, columns = np.indices((height // 4 + 2, width // 4 + 2), np.uint32)
    mixed = (rows * 0x9E3779B1 + columns * 0x85EBCA77 + 0x1B56C4E9 * seed).astype(np.uint32)
    mixed = ((mixed ^ mixed >> 15) * 0x2C1B3C6D).astype(np.uint32)
    grid = ((mixed ^ mixed >> 12) >> 8 & 1).astype(np.int64) * 255
    y, x = np.arange(height)[:, None], np.arange(width)
    top, left, dy, dx = y // 4, x // 4, y % 4, x % 4
    above = grid[top, left] * (4 - dx) + grid[top, left + 1] * dx
    below = grid[top + 1, left] * (4 - dx) + grid[top + 1, left + 1] * dx
    return ((above * (4 - dy) + below * dy) // 16).astype(np.uint8)
