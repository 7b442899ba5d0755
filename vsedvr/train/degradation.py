"""Degradations, which make low quality from ground truth. A preset lists them in order, by their kinds."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from vsedvr.train.blur import Bicubic, BlurDecimate, GaussianBlur, MotionBlur, Reduction
from vsedvr.train.coding import Compression, Delivery, Mpeg2
from vsedvr.train.noise import Grain, Noise

__all__ = ["KINDS", "Degradation", "degrade"]


class Degradation(Protocol):
    """One step of a degradation: a function that degrades a window (t, 3, h, w), float32 in [0, 1], and may make it smaller."""

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor: ...


def degrade(window: Tensor, steps: Sequence[Degradation], rng: np.random.Generator) -> Tensor:
    """Applies all steps in order and rounds to 8 bits, half up as MATLAB does.

    Args:
        window: (t, 3, h, w) in [0, 1], float32.
        steps: steps of a preset.
        rng: source of everything random in them.

    Returns:
        Degraded window (t, 3, h / scale, w / scale), in multiples of 1 / 255.
    """
    for step in steps:
        window = step(window, rng)
    return (window.clamp(0, 1) * 255 + 0.5).floor() / 255


KINDS = {
    "bicubic": Bicubic,
    "reduction": Reduction,
    "gaussian_blur": GaussianBlur,
    "blur_decimate": BlurDecimate,
    "motion_blur": MotionBlur,
    "compression": Compression,
    "mpeg2": Mpeg2,
    "delivery": Delivery,
    "noise": Noise,
    "grain": Grain,
}
"""The kinds of degradation, by their names in presets."""
