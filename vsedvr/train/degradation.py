"""Degradations, which make low quality from ground truth. A preset lists them in order, by their kinds."""

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
"""A picture (h, w, 3) in 0..255."""
Floats = NDArray[np.float32]
"""A picture (h, w, 3) in [0, 1], or a flow (h, w, 2) in pixels."""

Limits = tuple[float, float]
"""Smallest and largest value of a setting; a value in between is drawn for each window."""

ENCODERS = ("libx264", "libx265")
BLOCK = 128
"""Encoded pictures are extended to multiples of this height and width, in pixels. Smaller pictures, and 192x64 or 144x128, come
out slightly different each time with libx264 and libx265 (probably uninitialised memory), and 34x48 crashes libx265."""
LEAST_FRAMES = 5
"""Minimum number of frames to encode. With one or two, libx265 writes random timestamps that Matroska sometimes refuses."""


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


@dataclass(frozen=True)
class Bicubic:
    """Bicubic reduction, as the SR benchmarks do it (see resize.imresize)."""

    scale: int = 4

    def __post_init__(self) -> None:
        _check_least("bicubic: scale", self.scale, 1)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return imresize(window, self.scale)


@dataclass(frozen=True)
class GaussianBlur:
    """Blur like that of a picture out of focus: a Gaussian, whose standard deviation in pixels is `sigma`."""

    sigma: Limits = (0.2, 2.0)

    def __post_init__(self) -> None:
        _check_limits("gaussian_blur: sigma", self.sigma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _gaussian(window, rng.uniform(*self.sigma))


@dataclass(frozen=True)
class BlurDecimate:
    """Blur and decimation (BD), the second degradation of the SR literature: a 13x13 Gaussian, then every fourth pixel."""

    scale: int = 4
    sigma: float = 1.6

    def __post_init__(self) -> None:
        _check_least("blur_decimate: scale", self.scale, 1)
        _check_least("blur_decimate: sigma", self.sigma, 0)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _gaussian(window, self.sigma, radius=6)[..., :: self.scale, :: self.scale]


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
        _check_limits("motion_blur: exposure", self.exposure)
        _check_least("motion_blur: samples", self.samples, 1)
        if self.samples % 2 == 0:
            raise ValueError(f"motion_blur: samples must be odd, got {self.samples}")
        _check_least("motion_blur: gamma", self.gamma, 1)

    def times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws an exposure and returns the times of its sub-frames: (samples,), in frame intervals relative to the frame."""
        return np.linspace(-0.5, 0.5, self.samples) * rng.uniform(*self.exposure)

    def mean(self, frames: Tensor) -> Tensor:
        """Averages sub-frames (t, samples, 3, h, w) in linear light to frames (t, 3, h, w). Both are in [0, 1]."""
        return (frames**self.gamma).mean(1) ** (1 / self.gamma)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        times = self.times(rng).astype(np.float32)
        frames = _to_bytes(window)
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


@dataclass(frozen=True)
class Compression:
    """Compression by a video encoder, with the same quality for the whole window, and decoding.

    The window's frames are first encoded backwards, then forwards. So its first frame is predicted from others, as in a
    stream's middle, and is not always an intra frame. Frames are extended by their edge pixels to a multiple of BLOCK.
    """

    codec: str = "libx264"
    """FFmpeg's name of the encoder: libx264 or libx265."""
    crf: Limits = (23, 38)
    """Quality on the encoder's scale: higher is worse, and 51 is the worst."""
    preset: str = "medium"
    """Speed, as the encoder names it."""

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise ValueError(f"compression: codec must be one of {', '.join(ENCODERS)}, got {self.codec!r}")
        _check_limits("compression: crf", self.crf, most=51)
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
        """Encodes frames to a video file in memory. If there are fewer than LEAST_FRAMES, the first one is repeated."""
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
                frame.colorspace = Colorspace.ITU601  # from_ndarray converts by this matrix at any size
                frames.append(to_rgb(frame, reformatter))
            return frames


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, independent in every sample, whose standard deviation on a scale of 255 is `sigma`."""

    sigma: Limits = (5, 50)

    def __post_init__(self) -> None:
        _check_limits("noise: sigma", self.sigma)

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
"""The kinds of degradation, by their names in presets."""


def _check_least(what: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{what} must be at least {least}, got {value}")


def _check_limits(what: str, limits: Limits, most: float = math.inf) -> None:
    if not (0 <= limits[0] <= limits[1] <= most and math.isfinite(limits[1])):
        raise ValueError(f"{what} must rise from at least 0{f' to at most {most}' if most < math.inf else ''}, got {limits}")


def _gaussian(window: Tensor, sigma: float, radius: int | None = None) -> Tensor:
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


def _to_bytes(window: Tensor) -> list[Bytes]:
    return list((window.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))


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
