"""Degradations by video encoders: a window is encoded and decoded again."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace, VideoReformatter
from torch import Tensor
from torch.nn import functional as F

from vsedvr.data.clip import Frame
from vsedvr.data.color import to_rgb
from vsedvr.data.pairs import to_frame
from vsedvr.train.limits import Limits, check_limits

__all__ = ["Compression", "Delivery", "Mpeg2"]

ENCODERS = ("libx264", "libx265")
BLOCK = 128
"""Encoded pictures are extended to multiples of this height and width, in pixels. Smaller pictures, and 192x64 or 144x128, come
out slightly different each time with libx264 and libx265 (probably uninitialised memory), and 34x48 crashes libx265."""
LEAST_FRAMES = 5
"""Minimum number of frames to encode. With one or two, libx265 writes random timestamps that Matroska sometimes refuses."""


@dataclass(frozen=True)
class Compression:
    """Compression by H.264 or H.265, with the same quality for the whole window, and decoding (see _encoded)."""

    codec: str = "libx264"
    """FFmpeg's name of the encoder: libx264 or libx265."""
    crf: Limits = (23, 38)
    """Quality on the encoder's scale: higher is worse, and 51 is the worst."""
    preset: str = "medium"
    """Speed, as the encoder names it."""

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise ValueError(f"compression: codec must be one of {', '.join(ENCODERS)}, got {self.codec!r}")
        check_limits("compression: crf", self.crf, most=51)
        _check_encoder(
            f"compression: {self.codec} with preset {self.preset!r}", self.codec, _crf_options(self.crf[0], self.preset)
        )

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _encoded(window, self.codec, _crf_options(rng.uniform(*self.crf), self.preset))


@dataclass(frozen=True)
class Mpeg2:
    """Compression by MPEG-2, as on DVDs and in broadcasts, with the same quantiser for the whole window, and decoding.

    A group of pictures has 12 frames, with two B frames between the others, as DVDs have them (see _encoded).
    """

    q: Limits = (2, 8)
    """Scale of the quantiser, from 1 to 31: higher is worse. DVDs have about 2 to 8. It is rounded to a whole number."""

    def __post_init__(self) -> None:
        check_limits("mpeg2: q", self.q, most=31)
        if self.q[0] < 1:
            raise ValueError(f"mpeg2: q must be at least 1, got {self.q}")
        _check_encoder("mpeg2", "mpeg2video", _mpeg2_options(self.q[0]))

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        return _encoded(window, "mpeg2video", _mpeg2_options(rng.uniform(*self.q)))


@dataclass(frozen=True)
class Delivery:
    """Compression as films come to people: by MPEG-2 or H.264, and for some by one after the other.

    Which of them it is, and how strong it is, is drawn for each window.
    """

    mpeg2_share: float = 0.5
    """Share of the windows whose last encoder is MPEG-2, in [0, 1]; that of the others is H.264."""
    twice_share: float = 0.2
    """Share of the windows that are encoded twice, in [0, 1], each time by an encoder that is drawn."""
    q: Limits = (2, 8)
    """Scale of MPEG-2's quantiser (see Mpeg2)."""
    crf: Limits = (18, 32)
    """Quality of H.264 (see Compression)."""

    def __post_init__(self) -> None:
        for name in ("mpeg2_share", "twice_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"delivery: {name} must be from 0 to 1, got {getattr(self, name)}")
        Mpeg2(self.q)
        Compression(crf=self.crf)

    def __call__(self, window: Tensor, rng: np.random.Generator) -> Tensor:
        for _ in range(2 if rng.random() < self.twice_share else 1):
            if rng.random() < self.mpeg2_share:
                window = _encoded(window, "mpeg2video", _mpeg2_options(rng.uniform(*self.q)))
            else:
                window = _encoded(window, "libx264", _crf_options(rng.uniform(*self.crf), "medium"))
        return window


def _crf_options(crf: float, preset: str) -> dict[str, str]:
    """Returns the options of libx264 and libx265 for a quality; each of them ignores what only the other one knows."""
    return {"crf": f"{crf:.1f}", "preset": preset, "x265-params": "log-level=none:pools=none"}


def _mpeg2_options(q: float) -> dict[str, str]:
    """Returns the options of FFmpeg's MPEG-2 encoder for a scale of the quantiser."""
    scale = str(round(q))
    return {"qmin": scale, "qmax": scale, "g": "12", "bf": "2"}


def _encoded(window: Tensor, codec: str, options: Mapping[str, str]) -> Tensor:
    """Encodes a window (t, 3, h, w) in [0, 1] in 4:2:0 and returns it decoded, in multiples of 1 / 255.

    The window's frames are first encoded backwards, then forwards. So its first frame is predicted from others, as in a
    stream's middle, and is not always an intra frame. Frames are extended by their edge pixels to a multiple of BLOCK.
    """
    height, width = window.shape[-2:]
    wide = F.pad(window.clamp(0, 1), (0, -width % BLOCK, 0, -height % BLOCK), "replicate")
    frames = [to_frame(frame) for frame in wide]
    decoded = _decode(_encode([*frames[:0:-1], *frames], codec, options))
    same = torch.from_numpy(np.stack(decoded[-len(frames) :])).permute(0, 3, 1, 2)
    return same[..., :height, :width].float() / 255


def _encode(frames: Sequence[Frame], codec: str, options: Mapping[str, str]) -> io.BytesIO:
    """Encodes frames to a video file in memory. If there are fewer than LEAST_FRAMES, the first one is repeated."""
    frames = [frames[0]] * (LEAST_FRAMES - len(frames)) + list(frames)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={**options, "threads": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def _decode(file: io.BytesIO) -> list[Frame]:
    with av.open(file, "r") as container:
        container.streams.video[0].thread_count = 1
        reformatter = VideoReformatter()
        frames = []
        for frame in container.decode(video=0):
            frame.colorspace = Colorspace.ITU601  # from_ndarray converts by this matrix at any size
            frames.append(to_rgb(frame, reformatter))
        return frames


def _check_encoder(what: str, codec: str, options: Mapping[str, str]) -> None:
    """Encodes a black picture, as this PyAV may lack the encoder, and the encoder the options.

    Raises:
        ValueError: if it cannot be encoded.
    """
    try:
        _encode([np.zeros((BLOCK, BLOCK, 3), np.uint8)], codec, options)
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(f"{what} cannot encode: {error}") from error
