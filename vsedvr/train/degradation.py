"""What makes lq out of gt: each a step that a preset names by its kind, composed in the preset's order."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vsedvr.data.color import to_rgb
from vsedvr.data.resize import imresize

__all__ = ["KINDS", "Bicubic", "BlurDecimate", "Compression", "Degradation", "GaussianBlur", "MotionBlur", "Noise", "degrade"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
"""Pictures as (h, w, 3)."""

Range = tuple[float, float]
"""Smallest and largest; one value is drawn between them for a clip."""

ENCODERS = ("libx264", "libx265")
BLOCK = 128
"""Height and width that encoders get are multiples of this. Of smaller pictures, and of 192x64 or 144x128, libx264 and
libx265 make a little different streams each time, as if they read memory that nobody wrote; 34x48 crashes libx265."""
LEAST_FRAMES = 5
"""Of one or two, libx265 takes the time to decode them from memory that nobody wrote; now and then matroska refuses it."""


class Degradation(Protocol):
    """One step on a window: (t, 3, h, w) in [0, 1], float32; the same out, of another size or not."""

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor: ...


def degrade(window: Tensor, steps: Sequence[Degradation], rng: np.random.Generator) -> Tensor:
    """All steps in order; the result is in the 256 values that a file of 8 bits holds, rounded half up as MATLAB does."""
    for step in steps:
        window = step(window, rng)
    return (window.clamp(0, 1) * 255 + 0.5).floor() / 255


@dataclass(frozen=True)
class Bicubic:
    """Reduction as the SR benchmarks do it (see resize.imresize)."""

    scale: int = 4

    def __post_init__(self) -> None:
        _check_least("bicubic: scale", self.scale, 1)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return imresize(window, self.scale)


@dataclass(frozen=True)
class GaussianBlur:
    """Out of focus: Gaussian of a standard deviation in pixels."""

    sigma: Range = (0.2, 2.0)

    def __post_init__(self) -> None:
        _check_range("gaussian_blur: sigma", self.sigma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _gaussian(window, rng.uniform(*self.sigma))


@dataclass(frozen=True)
class BlurDecimate:
    """BD, the other degradation of the SR literature: Gaussian (13x13, sigma 1.6), then every fourth pixel from 0."""

    scale: int = 4
    sigma: float = 1.6

    def __post_init__(self) -> None:
        _check_least("blur_decimate: scale", self.scale, 1)
        _check_least("blur_decimate: sigma", self.sigma, 0)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _gaussian(window, self.sigma, radius=6)[..., :: self.scale, :: self.scale]


@dataclass(frozen=True)
class MotionBlur:
    """An exposure of a part of the frame interval: sub-frames averaged in linear light.

    REDS (Nah et al., CVPR workshops 2019) was made so from frames that a network interpolated. Where the sub-frames are
    known, as of moving stills, they are rendered (times, mean). Elsewhere DIS flow (Kroeger et al., ECCV 2016) to both
    neighbours carries a frame to the times between: what that uncovers is not modelled, and near the border, where motion
    is fast, the flow is wrong.
    """

    exposure: Range = (0.25, 1.0)
    """In frame intervals, centred on the frame."""
    samples: int = 17
    """Sub-frames; an odd number, so that one of them is the frame."""
    gamma: float = 2.2

    def __post_init__(self) -> None:
        _check_range("motion_blur: exposure", self.exposure)
        _check_least("motion_blur: samples", self.samples, 1)
        if self.samples % 2 == 0:
            raise ValueError(f"motion_blur: samples must be odd, got {self.samples}")
        _check_least("motion_blur: gamma", self.gamma, 1)

    def times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """(samples,) of an exposure, in frame intervals from the frame."""
        return np.linspace(-0.5, 0.5, self.samples) * rng.uniform(*self.exposure)

    def mean(self, frames: Tensor) -> Tensor:
        """Sub-frames (t, samples, 3, h, w) to frames (t, 3, h, w), both in [0, 1]."""
        return (frames**self.gamma).mean(1) ** (1 / self.gamma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        times = self.times(rng).astype(np.float32)
        frames = _to_bytes(window)
        exposed = [self._expose(*of_frame, times) for of_frame in zip(frames, *_flows(frames), strict=True)]
        return torch.from_numpy(np.stack(exposed)).permute(0, 3, 1, 2)

    def _expose(self, frame: Bytes, before: Floats, after: Floats, times: Floats) -> Floats:
        """The frame's mean over these times, in [0, 1]."""
        linear = (frame / np.float32(255)) ** np.float32(self.gamma)
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
        mean = np.zeros_like(linear)
        for time in times:
            flow = after * time if time > 0 else before * -time
            moved = cv2.remap(linear, x - flow[..., 0], y - flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            mean += moved / np.float32(self.samples)
        return mean.clip(0) ** np.float32(1 / self.gamma)


@dataclass(frozen=True)
class Compression:
    """A round through an encoder at one quality for the window.

    Before the window its frames run backwards through the encoder: so its first frame is predicted as in the middle of a
    stream, and not always the one that is coded whole. For the encoder the frame's edge pixels go on to a
    multiple of BLOCK.
    """

    codec: str = "libx264"
    """FFmpeg's name of an encoder: libx264 or libx265."""
    crf: Range = (23, 38)
    preset: str = "medium"

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise ValueError(f"compression: codec must be one of {', '.join(ENCODERS)}, got {self.codec!r}")
        _check_range("compression: crf", self.crf, most=51)
        try:  # this PyAV may lack the encoder, and the encoder the preset
            self._encode([np.zeros((BLOCK, BLOCK, 3), np.uint8)], self.crf[0])
        except (av.error.FFmpegError, ValueError) as error:
            raise ValueError(f"compression: {self.codec} with preset {self.preset!r} cannot encode: {error}") from error

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        height, width = window.shape[-2:]
        frames = _to_bytes(F.pad(window, (0, -width % BLOCK, 0, -height % BLOCK), "replicate"))
        decoded = self._decode(self._encode([*frames[:0:-1], *frames], rng.uniform(*self.crf)))
        same = torch.from_numpy(np.stack(decoded[-len(frames) :])).permute(0, 3, 1, 2)
        return same[..., :height, :width].float() / 255

    def _encode(self, frames: Sequence[Bytes], crf: float) -> io.BytesIO:
        """A file of these frames; where they are fewer than LEAST_FRAMES the first comes more often."""
        frames = [frames[0]] * (LEAST_FRAMES - len(frames)) + list(frames)
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            options = {"crf": f"{crf:.1f}", "preset": self.preset, "threads": "1", "x265-params": "log-level=none:pools=none"}
            stream = container.add_stream(self.codec, rate=25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        file.seek(0)
        return file

    def _decode(self, file: io.BytesIO) -> list[Bytes]:
        with av.open(file, "r") as container:
            container.streams.video[0].thread_count = 1
            reformatter = VideoReformatter()
            frames = []
            for frame in container.decode(video=0):
                frame.colorspace = Colorspace.ITU601  # as from_ndarray converted it, at any size
                frames.append(to_rgb(frame, reformatter))
            return frames


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, independent in every sample, of a standard deviation in steps of 8 bits."""

    sigma: Range = (5, 50)

    def __post_init__(self) -> None:
        _check_range("noise: sigma", self.sigma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        noise = rng.standard_normal(window.shape, np.float32) * np.float32(rng.uniform(*self.sigma) / 255)
        return window + torch.from_numpy(noise)


KINDS = {
    "bicubic": Bicubic,
    "gaussian_blur": GaussianBlur,
    "blur_decimate": BlurDecimate,
    "motion_blur": MotionBlur,
    "compression": Compression,
    "noise": Noise,
}
"""The steps by their names in presets."""


def _check_least(what: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{what} must be at least {least}, got {value}")


def _check_range(what: str, range: Range, most: float = math.inf) -> None:
    if not (0 <= range[0] <= range[1] <= most and math.isfinite(range[1])):
        raise ValueError(f"{what} must rise from at least 0{f' to at most {most}' if most < math.inf else ''}, got {range}")


def _gaussian(window: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Of weights that sum to 1; the picture's edge pixels go on beyond it."""
    if sigma == 0:
        return window
    radius = int(np.ceil(3 * sigma)) if radius is None else radius
    weights = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(window.dtype)
    shape = window.shape
    wide = F.pad(window.reshape(-1, 1, *shape[-2:]), (radius,) * 4, "replicate")
    return F.conv2d(F.conv2d(wide, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)).view(shape)


def _to_bytes(window: Tensor) -> list[Bytes]:
    return list((window.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))


def _flows(frames: Sequence[Bytes]) -> tuple[list[Floats], list[Floats]]:
    """Optical flow from each frame to the one before and to the one after, (h, w, 2) as (x, y) in pixels.

    At the ends of the window the motion goes on as it is on the other side.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    zero = np.zeros((*lumas[0].shape, 2), np.float32)
    before = [np.asarray(dis.calc(b, a, zero.copy()), np.float32) for a, b in pairwise(lumas)]
    after = [np.asarray(dis.calc(a, b, zero.copy()), np.float32) for a, b in pairwise(lumas)]
    return [-after[0], *before], [*after, -before[-1]]
