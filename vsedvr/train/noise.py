"""Degradations by noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsedvr.train.blur import gaussian
from vsedvr.train.limits import Limits, check_limits

__all__ = ["Grain", "Noise"]

RGB_OF_YCBCR = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
"""R, G and B of a change in Y, Cb and Cr of full range (ITU-R BT.601)."""


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, independent in every sample, whose standard deviation on a scale of 255 is `sigma`."""

    sigma: Limits = (5, 50)

    def __post_init__(self) -> None:
        check_limits("noise: sigma", self.sigma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return window + _white(tuple(window.shape), rng) * (rng.uniform(*self.sigma) / 255)


@dataclass(frozen=True)
class Grain:
    """Noise as cameras and film have it: of luma and chroma apart, with grains of some size, new in every frame."""

    luma: Limits = (0, 10)
    """Standard deviation of the luma's noise on a scale of 255."""
    chroma: Limits = (0, 10)
    """Standard deviation of the noise of Cb and of Cr on a scale of 255."""
    size: Limits = (0, 1)
    """Standard deviation in pixels of the Gaussian that white noise is blurred with; 0 keeps every pixel independent."""

    def __post_init__(self) -> None:
        for name in ("luma", "chroma", "size"):
            check_limits(f"grain: {name}", getattr(self, name))

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        luma, chroma, size = (rng.uniform(*limits) for limits in (self.luma, self.chroma, self.size))
        grain = gaussian(_white(tuple(window.shape), rng), size)
        grain /= grain.std().clamp(min=1e-6)  # the blur made it weaker
        deviations = torch.tensor([luma, chroma, chroma], dtype=torch.float32, device="cpu") / 255
        to_rgb = torch.tensor(RGB_OF_YCBCR, dtype=torch.float32, device="cpu") * deviations
        return window + torch.einsum("rc,tchw->trhw", to_rgb, grain)


def _white(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Returns noise of standard deviation 1 whose samples are independent."""
    return torch.from_numpy(rng.standard_normal(shape, np.float32))
