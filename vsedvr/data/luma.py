"""The measure by which scene cuts are found: how much the luma of two frames differs."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vsedvr.data.picture import Frame

__all__ = ["luma", "luma_difference"]

BT709 = (0.2126, 0.7152, 0.0722, 0)


def luma(frame: Frame) -> NDArray[np.uint8]:
    """Converts RGB (h, w, 3) to full-range luma (h, w) of BT.709 in 8 bits: 0.2126 R + 0.7152 G + 0.0722 B, rounded."""
    return np.asarray(Image.fromarray(frame).convert("L", BT709))


def luma_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns the mean absolute difference of two luma planes of the same size, on a scale of 1.

    This equals PlaneStatsDiff of VapourSynth's std.PlaneStats on GRAY8, by which the filter finds cuts.
    """
    return float(np.abs(a.astype(np.int16) - b).mean()) / 255
