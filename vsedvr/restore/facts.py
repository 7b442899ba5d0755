"""Facts about a source, in a form that can be written to JSON and sent to another machine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av

__all__ = ["Source", "clock", "colour", "exact", "hdr_metadata", "reason"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Facts about a film to restore. Frames are numbered from 0 in the order of display, damaged ones included."""

    kind: str
    """Kind of source: "video", "pictures" or "script"."""
    path: str
    width: int
    height: int
    format: str
    """VapourSynth's name of the pixel format, such as "YUV420P10"."""
    rate: tuple[int, int]
    """Frames per second, as (numerator, denominator); the mean if the rate varies."""
    constant_rate: bool
    time_base: tuple[int, int]
    """Seconds per tick of a timestamp, as (numerator, denominator)."""
    timestamps: list[int]
    """Timestamp of each frame in ticks, rising."""
    end: int
    """Timestamp in ticks at which the last frame ends."""
    origin: int
    """Timestamp in ticks that becomes 0 in the result; 0 if the container's clock starts at 0."""
    aspect: tuple[int, int]
    """Width of a pixel divided by its height, as (numerator, denominator)."""
    props: dict[str, int]
    """Colour props of frame 0: those of _Matrix, _Primaries, _Transfer, _Range and _ChromaLocation that are known."""
    hdr: dict[str, list[float]]
    """HDR10 static metadata, by names of frame props; empty if there is none."""
    missing: list[int]
    """Numbers of frames that are in the file but cannot be decoded."""
    key_frames: list[int]
    """Numbers of frames at which decoding can start."""

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
        """Width of a pixel divided by its height."""
        return Fraction(*self.aspect)

    def time(self, n: int) -> Fraction:
        """Returns when frame n is shown, in seconds; for n = num_frames, when the film ends."""
        return (self.timestamps[n] if n < self.num_frames else self.end) * self.seconds_per_tick

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Source":
        pairs: dict[str, Any] = {name: tuple(values[name]) for name in ("rate", "time_base", "aspect")}
        return cls(**{**values, **pairs})


COLOUR_PROPS = ("_Matrix", "_Primaries", "_Transfer", "_Range", "_ChromaLocation")
UNSPECIFIED = 2
"""Number in ITU-T H.273 of an unknown matrix, primaries or transfer."""
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
    """Returns the colour props whose values are known, leaving out unspecified ones."""
    known = {name: int(props[name]) for name in COLOUR_PROPS if name in props}
    return {name: value for name, value in known.items() if value != UNSPECIFIED or name in ("_Range", "_ChromaLocation")}


def hdr_metadata(props: Mapping[str, Any]) -> dict[str, list[float]]:
    """Returns mastering display and light levels from a frame's props, each as a list of numbers."""
    values = {name: props[name] for name in HDR_PROPS if name in props}
    return {name: [float(v) for v in (value if isinstance(value, list) else [value])] for name, value in values.items()}


def exact(value: av.rational.AVRational | Fraction | int) -> Fraction:
    """Converts PyAV's rational number to a Fraction."""
    return Fraction(value.numerator, value.denominator)


def reason(error: Exception) -> str:
    """Returns the message of an error, without the traceback that VapourSynth adds to errors from Python."""
    return str(error).strip().splitlines()[-1].removeprefix("ValueError: ")


def clock(seconds: Fraction | float) -> str:
    """Formats a time as players show it, such as 1:02:03.500."""
    milliseconds = round(seconds * 1000)
    sign, milliseconds = "-" if milliseconds < 0 else "", abs(milliseconds)
    return f"{sign}{milliseconds // 3_600_000}:{milliseconds // 60_000 % 60:02}:{milliseconds / 1000 % 60:06.3f}"
