"""Degradations of a picture's sharpness: blur of the lens, of motion, and of a reduction."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vsedvr.data.pairs import to_frame
from vsedvr.data.resize import imresize
from vsedvr.train.limits import Limits, check_least, check_limits

__all__ = ["Bicubic", "BlurDecimate", "GaussianBlur", "MotionBlur", "Reduction", "gaussian"]

Bytes = NDArray[np.uint8]
"""A picture (h, w, 3) in 0..255."""
Floats = NDArray[np.float32]
"""A picture (h, w, 3) in [0, 1], or a flow (h, w, 2) in pixels."""


@dataclass(frozen=True)
class Bicubic:
    """Bicubic reduction, as the SR benchmarks do it (see resize.imresize)."""

    scale: int = 4

    def __post_init__(self) -> None:
        check_least("bicubic: scale", self.scale, 1)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return imresize(window, self.scale)


@dataclass(frozen=True)
class GaussianBlur:
    """Blur like that of a picture out of focus: a Gaussian."""

    sigma: Limits = (0.2, 2.0)
    """Standard deviation in pixels."""
    ratio: Limits = (1.0, 1.0)
    """Ratio of the standard deviation across to that along, at least 0; 1 is the same blur in all directions. The direction is
    drawn as well."""

    def __post_init__(self) -> None:
        check_limits("gaussian_blur: sigma", self.sigma)
        check_limits("gaussian_blur: ratio", self.ratio, most=1)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        sigma = rng.uniform(*self.sigma)
        if self.ratio == (1, 1):
            return gaussian(window, sigma)
        return _filtered(window, _kernel(sigma, sigma * rng.uniform(*self.ratio), rng.uniform(0, np.pi)))


@dataclass(frozen=True)
class Reduction:
    """Reduction by one of several filters, as encoders and scalers of all kinds do it; the filter is drawn for each window.

    The filters are bicubic (see resize.imresize), bilinear (both widened for the reduction, so that nothing aliases) and area,
    the mean of the pixels that become one.
    """

    scale: int = 2
    filters: tuple[str, ...] = ("bicubic", "bilinear", "area")

    def __post_init__(self) -> None:
        check_least("reduction: scale", self.scale, 1)
        unknown = sorted(set(self.filters) - {"bicubic", "bilinear", "area"})
        if unknown or not self.filters:
            raise ValueError(f"reduction: filters must be some of bicubic, bilinear and area, got {self.filters}")

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        name = self.filters[rng.integers(len(self.filters))]
        if name == "bicubic":
            return imresize(window, self.scale)
        if name == "area":
            return F.avg_pool2d(window, self.scale)
        return F.interpolate(window, scale_factor=1 / self.scale, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class BlurDecimate:
    """Blur and decimation (BD), the second degradation of the SR literature: a 13x13 Gaussian, then every fourth pixel."""

    scale: int = 4
    sigma: float = 1.6

    def __post_init__(self) -> None:
        check_least("blur_decimate: scale", self.scale, 1)
        check_least("blur_decimate: sigma", self.sigma, 0)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return gaussian(window, self.sigma, radius=6)[..., :: self.scale, :: self.scale]


@dataclass(frozen=True)
class MotionBlur:
    """Motion blur: an exposure during a part of the frame interval, as the mean of sub-frames in linear light.

    REDS (Nah et al., CVPR workshops 2019) was made in this way, from frames interpolated by a network. For moving stills the
    sub-frames are rendered (see times and mean). For clips, a frame is moved to the times between frames by DIS flow to both
    neighbours (Kroeger et al., ECCV 2016). This does not model what the motion uncovers, and near the border the flow of fast
    motion is wrong.
    """

    exposure: Limits = (0.25, 1.0)
    """Length of the exposure in frame intervals; its middle is the frame."""
    samples: int = 17
    """Number of sub-frames; odd, so that one of them is the frame itself."""
    gamma: float = 2.2
    """Exponent that converts samples to linear light."""

    def __post_init__(self) -> None:
        check_limits("motion_blur: exposure", self.exposure)
        check_least("motion_blur: samples", self.samples, 1)
        if self.samples % 2 == 0:
            raise ValueError(f"motion_blur: samples must be odd, got {self.samples}")
        check_least("motion_blur: gamma", self.gamma, 1)

    def times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws an exposure and returns the times of its sub-frames: (samples,), in frame intervals relative to the frame."""
        return np.linspace(-0.5, 0.5, self.samples) * rng.uniform(*self.exposure)

    def mean(self, frames: Tensor) -> Tensor:
        """Averages sub-frames (t, samples, 3, h, w) in linear light to frames (t, 3, h, w). Both are in [0, 1]."""
        return (frames**self.gamma).mean(1) ** (1 / self.gamma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        times = self.times(rng).astype(np.float32)
        frames = [to_frame(frame) for frame in window.clamp(0, 1)]
        exposed = [self._expose(*of_frame, times) for of_frame in zip(frames, *_flows(frames), strict=True)]
        return torch.from_numpy(np.stack(exposed)).permute(0, 3, 1, 2)

    def _expose(self, frame: Bytes, before: Floats, after: Floats, times: Floats) -> Floats:
        """Averages a frame, moved to the times of an exposure; in [0, 1]. `before` and `after` are flows to its neighbours."""
        linear = (frame / np.float32(255)) ** np.float32(self.gamma)
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
        mean = np.zeros_like(linear)
        for time in times:
            flow = after * time if time > 0 else before * -time
            moved = cv2.remap(linear, x - flow[..., 0], y - flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            mean += moved / np.float32(self.samples)
        return mean.clip(0) ** np.float32(1 / self.gamma)


def gaussian(window: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Blurs a window (t, c, h, w) with a Gaussian; the window is extended by its edge pixels.

    Args:
        window: window with any values.
        sigma: standard deviation in pixels; 0 changes nothing.
        radius: distance in pixels from the middle of the kernel to its edge; by default three standard deviations.
    """
    if sigma == 0:
        return window
    radius = int(np.ceil(3 * sigma)) if radius is None else radius
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device="cpu")
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(window.dtype)
    shape = window.shape
    wide = F.pad(window.reshape(-1, 1, *shape[-2:]), (radius,) * 4, "replicate")
    return F.conv2d(F.conv2d(wide, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)).view(shape)


def _kernel(along: float, across: float, angle: float) -> Tensor:
    """Returns the kernel of a Gaussian (k, k) that adds up to 1, with two standard deviations in pixels.

    Args:
        along, across: standard deviations in the direction of the angle and at a right angle to it; at least 0.05 is taken.
        angle: in radians, from the x axis down.
    """
    along, across = max(along, 0.05), max(across, 0.05)
    radius = int(np.ceil(3 * along))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    weights = np.exp(-(u**2) / (2 * along**2) - v**2 / (2 * across**2))
    return torch.from_numpy((weights / weights.sum()).astype(np.float32))


def _filtered(window: Tensor, kernel: Tensor) -> Tensor:
    """Filters all channels of a window (t, c, h, w) by a kernel (k, k); the window is extended by its edge pixels."""
    shape, radius = window.shape, len(kernel) // 2
    wide = F.pad(window.reshape(-1, 1, *shape[-2:]), (radius,) * 4, "replicate")
    return F.conv2d(wide, kernel.to(window.dtype)[None, None]).view(shape)


def _flows(frames: Sequence[Bytes]) -> tuple[list[Floats], list[Floats]]:
    """Computes the optical flow from each frame to the one before and to the one after: (h, w, 2) as (x, y) in pixels.

    At both ends of the window the motion is assumed to continue as on the other side of the frame.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    zero = np.zeros((*lumas[0].shape, 2), np.float32)
    before = [np.asarray(dis.calc(b, a, zero.copy()), np.float32) for a, b in pairwise(lumas)]
    after = [np.asarray(dis.calc(a, b, zero.copy()), np.float32) for a, b in pairwise(lumas)]
    return [-after[0], *before], [*after, -before[-1]]
