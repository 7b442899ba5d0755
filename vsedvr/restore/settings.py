"""The arguments of `restore`, checked as far as possible without the input."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

from vsedvr.infer import check_ensemble

__all__ = ["MATRICES", "RestoreSettings", "Workers", "device_index", "device_indices", "parse_moment", "parse_rate"]

MATRICES = {"709": 1, "fcc": 4, "470bg": 5, "170m": 6, "601": 6, "240m": 7, "2020ncl": 9, "2020": 9, "2020cl": 10}
"""Numbers in ITU-T H.273, as in the frame prop _Matrix, by names of matrices."""

NOT_IN_THE_RESULT = ("device", "skip_damaged", "audio")
"""Settings that may change when a job is continued, because they do not affect frames that are restored without an error."""


@dataclass(frozen=True, kw_only=True)
class RestoreSettings:
    """The arguments of `vsedvr.restore.restore`, which explains them. They can be written to JSON.

    Raises:
        ValueError: if a value cannot be used with any input; the message names it.
    """

    model: str = "small"
    refine: str | None = None
    ensemble: int = 1
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
        check_ensemble(self.ensemble)
        device_indices(self.device)
        for moment in filter(None, (self.start, self.end)):
            parse_moment(moment)
        if self.fps is not None:
            parse_rate(self.fps)

    @property
    def models(self) -> list[str]:
        """The model and, if there is one, the model that refines its result."""
        return [self.model, *([self.refine] if self.refine else [])]

    def differences(self, other: "RestoreSettings") -> list[str]:
        """Describes the settings that differ from those a job was started with, and would change the film.

        Args:
            other: settings with which the job was started.
        """
        pairs = [(f.name, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)]
        return [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new and name not in NOT_IN_THE_RESULT]

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RestoreSettings":
        tile = values["tile"]
        return cls(**{**values, "tile": None if tile is None else (tile[0], tile[1])})


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Settings for the processes that restore, with dask.distributed. `vsedvr.restore.restore` explains them.

    Raises:
        ValueError: if a value cannot be used; the message names it.
    """

    jobs: int | None = None
    cluster: str | None = None
    ship: bool = False

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {self.jobs}")
        if self.jobs is not None and self.cluster is not None:
            raise ValueError("give jobs or cluster, not both: a cluster has the workers that joined it")
        if self.ship and self.cluster is None:
            raise ValueError("ship is for a cluster; processes of this machine see its files")

    def local(self, devices: int) -> int:
        """Returns the number of worker processes on this machine; 0 if those of a cluster do the work.

        Args:
            devices: number of devices that the user chose.
        """
        return 0 if self.cluster is not None else self.jobs or devices


def device_index(device: str | None) -> int | None:
    """Returns the device number that `vsedvr.edvr` takes: "cpu" or "-1" gives -1, "0" or "cuda:0" the first GPU, None None.

    Raises:
        ValueError: for anything else.
    """
    if device is None:
        return None
    match = re.fullmatch(r"cpu|-1|(?:cuda:)?(\d+)|cuda", device)
    if match is None:
        raise ValueError(f'device must be "cpu", or the number of a GPU such as 0, or several such as 0,1; got {device!r}')
    if device in ("cpu", "-1"):
        return -1
    return int(match[1] or 0)


def device_indices(device: str | None) -> list[int | None]:
    """Returns the device numbers in a list such as "0,1" (the first two GPUs), each as device_index gives it.

    Raises:
        ValueError: if one of them is not a device, or is listed twice.
    """
    indices: list[int | None] = [None]
    if device is not None:
        indices = [device_index(part.strip()) for part in device.split(",")]
    if len(set(indices)) < len(indices):
        raise ValueError(f"device must name each device once, got {device!r}; jobs (--jobs) sets the number of processes")
    if len(indices) > 1 and -1 in indices:
        raise ValueError(f"device must be the CPU or GPUs, not both, got {device!r}")
    return indices


def parse_moment(text: str) -> int | Fraction:
    """Reads a place in the film: a frame number ("250", an int), or a time in seconds ("1:02:03.5", "83.2", "90s", a Fraction).

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
    """Reads a frame rate in frames per second: "25", "23.976" (which means 24000/1001) or "24000/1001".

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
