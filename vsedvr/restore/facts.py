"""What is known of a source, in a form that can be written to JSON and sent to another machine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av

__all__ = ["Source", "clock", "colour", "exact", "hdr_metadata", "reason"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A film to restore. Frames are numbered from 0 as they are shown, damaged ones included."""

    kind: str
    """video, pictures or script."""
    path: str
    width: int
    height: int
    format: str
    """VapourSynth's name of the pixel format, such as YUV420P10."""
    rate: tuple[int, int]
    """Frames a second, numerator and denominator; the mean where the rate varies."""
    constant_rate: bool
    time_base: tuple[int, int]
    """Seconds that a timestamp counts, numerator and denominator."""
    timestamps: list[int]
    """Of every frame, rising."""
    end: int
    """Timestamp at which the last frame ends."""
    origin: int
    """Timestamp that is the beginning of the result: 0 where the container's clock starts at 0."""
    aspect: tuple[int, int]
    """Width of a pixel to its height, as numerator and denominator."""
    props: dict[str, int]
    """Colour of frame 0: those of _Matrix, _Primaries, _Transfer, _Range and _ChromaLocation that are known."""
    hdr: dict[str, list[float]]
    """HDR10's static metadata, by the names of the frame props; empty where there is none."""
    missing: list[int]
    """Numbers of frames that the file has but no decoder can restore."""
    key_frames: list[int]
    """Numbers of frames that the decoder can start with."""

    @property
    def num_frames(self) -> int:
        return len(self.timestamps)

    @property
    def seconds_per_tick(self) -> Fraction:
        return Fraction(*self.time_base)

    @property
    def frame_rate(self) -> Fraction:
        return Fraction(*self.rate)

    @property
    def shape(self) -> Fraction:
        """Width of a pixel to its height."""
        return Fraction(*self.aspect)

    def time(self, n: int) -> Fraction:
        """When frame n is shown, in seconds; the end of the film for n = num_frames."""
        return (self.timestamps[n] if n < self.num_frames else self.end) * self.seconds_per_tick

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Source":
        pairs: dict[str, Any] = {name: tuple(values[name]) for name in ("rate", "time_base", "aspect")}
        return cls(**{**values, **pairs})


COLOUR_PROPS = ("_Matrix", "_Primaries", "_Transfer", "_Range", "_ChromaLocation")
UNSPECIFIED = 2
"""H.273's number for a matrix, primaries or a transfer that is not known."""
HDR_PROPS = (
    "MasteringDisplayPrimariesX",
    "MasteringDisplayPrimariesY",
    "MasteringDisplayWhitePointX",
    "MasteringDisplayWhitePointY",
    "MasteringDisplayMinLuminance",
    "MasteringDisplayMaxLuminance",
    "ContentLightLevelMax",
    "ContentLightLevelAverage",
)


def colour(props: Mapping[str, Any]) -> dict[str, int]:
    """The colour props that say something."""
    known = {name: int(props[name]) for name in COLOUR_PROPS if name in props}
    return {name: value for name, value in known.items() if value != UNSPECIFIED or name in ("_Range", "_ChromaLocation")}


def hdr_metadata(props: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mastering display and light levels of a frame, each as a list of numbers."""
    values = {name: props[name] for name in HDR_PROPS if name in props}
    return {name: [float(v) for v in (value if isinstance(value, list) else [value])] for name, value in values.items()}


def exact(value: av.rational.AVRational | Fraction | int) -> Fraction:
    """A rational of PyAV's as one of Python's."""
    return Fraction(value.numerator, value.denominator)


def reason(error: Exception) -> str:
    """What went wrong, without the traceback that VapourSynth adds when the error is one of Python's."""
    return str(error).strip().splitlines()[-1].removeprefix("ValueError: ")


def clock(seconds: Fraction | float) -> str:
    """A time as players show it: 1:02:03.500."""
    milliseconds = round(seconds * 1000)
    sign, milliseconds = "-" if milliseconds < 0 else "", abs(milliseconds)
    return f"{sign}{milliseconds // 3_600_000}:{milliseconds // 60_000 % 60:02}:{milliseconds / 1000 % 60:06.3f}"
