"""What is asked for: the arguments of `restore`, checked as far as they can be without the input."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

__all__ = ["MATRICES", "Settings", "device_index", "parse_moment", "parse_rate"]

MATRICES = {"709": 1, "fcc": 4, "470bg": 5, "170m": 6, "601": 6, "240m": 7, "2020ncl": 9, "2020": 9, "2020cl": 10}
"""Names of matrices and their numbers in ITU-T H.273, as in the frame prop _Matrix."""

NOT_IN_THE_RESULT = ("device", "skip_damaged", "audio")
"""Settings that may change when a job goes on: they do not change the frames that are restored without an error."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `vsedvr.restore.restore`, which explains them. They can be written to JSON.

    Raises:
        ValueError: for a value that no input can be restored with; the message names it.
    """

    model: str = "small"
    refine: str | None = None
    device: str | None = None
    precision: str | None = None
    tile: tuple[int, int] | None = None
    matrix: str | None = None
    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    encoder_options: Mapping[str, str] | None = None
    height: int | None = None
    scale: float | None = None
    start: str | None = None
    end: str | None = None
    fps: str | None = None
    audio: str | None = None
    skip_damaged: bool = False
    segment_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.height is not None and self.scale is not None:
            raise ValueError("give height or scale, not both")
        if self.height is not None and self.height < 1:
            raise ValueError(f"height must be at least 1, got {self.height}")
        if self.scale is not None and not 0 < self.scale <= 16:
            raise ValueError(f"scale must be above 0 and at most 16, got {self.scale}")
        if not self.segment_seconds > 0:
            raise ValueError(f"segment_seconds must be above 0, got {self.segment_seconds}")
        if self.matrix is not None and self.matrix not in MATRICES:
            raise ValueError(f"matrix must be one of {', '.join(MATRICES)}, got {self.matrix!r}")
        device_index(self.device)
        for moment in filter(None, (self.start, self.end)):
            parse_moment(moment)
        if self.fps is not None:
            parse_rate(self.fps)

    def differences(self, other: "Settings") -> list[str]:
        """Settings in which a job that began with `other` would become another film, in words."""
        pairs = [(f.name, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)]
        return [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new and name not in NOT_IN_THE_RESULT]

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        tile = values["tile"]
        return cls(**{**values, "tile": None if tile is None else (tile[0], tile[1])})


def device_index(device: str | None) -> int | None:
    """The number that `vsedvr.edvr` takes: "cpu" or "-1" is -1, "0" or "cuda:0" is the first GPU, None chooses.

    Raises:
        ValueError: for anything else.
    """
    if device is None:
        return None
    match = re.fullmatch(r"cpu|-1|(?:cuda:)?(\d+)|cuda", device)
    if match is None:
        raise ValueError(f'device must be "cpu", or the number of a GPU such as 0, got {device!r}')
    if device in ("cpu", "-1"):
        return -1
    return int(match[1] or 0)


def parse_moment(text: str) -> int | Fraction:
    """A place in the film: a frame number ("250"), or a time in seconds ("1:02:03.5", "83.2", "90s").

    Raises:
        ValueError: if it is neither.
    """
    if re.fullmatch(r"\d+", text):
        return int(text)
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)s?", text)
    if match is None:
        raise ValueError(f"a place in the film is a frame number (250) or a time (1:02:03.5 or 90s), got {text!r}")
    hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_rate(text: str) -> Fraction:
    """Frames a second: "25", "23.976" (which means 24000/1001), "24000/1001".

    Raises:
        ValueError: if it is not a number from 1/1000 to 1000.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"frames a second are a number such as 25, 23.976 or 24000/1001, got {text!r}") from error
    if not Fraction(1, 1000) <= rate <= 1000:
        raise ValueError(f"frames a second must be from 1/1000 to 1000, got {text}")
    ntsc = Fraction(round(rate) * 1000, 1001)
    return ntsc if "/" not in text and abs(rate - ntsc) < Fraction(1, 1000) else rate
