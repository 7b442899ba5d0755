"""The folder OUT.parts: what is to be done, what is there, and what is missing.

It holds job.json (the hashes of the input, the settings, the versions, the segments), one file a segment, each put there
whole, bestsource's index, and a lock that the operating system takes from a process that dies.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vsedvr.atomic import write_whole
from vsedvr.restore.facts import Source
from vsedvr.restore.output import Output
from vsedvr.restore.pictures import picture_files
from vsedvr.restore.settings import RestoreSettings
from vsedvr.weights import EMBEDDED, find_model

__all__ = [
    "Job",
    "find_job",
    "input_hashes",
    "is_same_input",
    "locked",
    "model_file",
    "models_hash",
    "parts_folder",
    "start_job",
    "versions",
]

MADE_BY = ("vsedvr", "av", "vapoursynth-bestsource")
"""Packages whose versions must not change until a job is done: another version may encode or count frames differently."""


@dataclass(frozen=True)
class Job:
    """Everything that a process needs, apart from the input, to restore any segment of a film."""

    folder: Path
    source: Source
    settings: RestoreSettings
    output: Output
    segments: list[range]
    tile: tuple[int, int]
    """(width, height) of the tiles in pixels of the source; (0, 0) for whole frames. Fixed when the job starts, so that every
    process restores frames in the same way."""

    @property
    def index(self) -> Path:
        """Path of bestsource's index of the input."""
        return self.folder / "index"

    @property
    def frames(self) -> range:
        """Numbers of the source frames that are restored."""
        return range(self.segments[0].start, self.segments[-1].stop)

    @property
    def zero(self) -> int:
        """Timestamp of the source that becomes 0 in the result: that of the first frame if the beginning is cut off."""
        return self.source.origin if self.settings.start is None else self.source.timestamps[self.frames.start]

    def path(self, number: int) -> Path:
        """Returns the path of a finished segment's file.

        Args:
            number: number of the segment, from 0.
        """
        return self.folder / f"{number:06}{self.output.encoder.segment}"

    def json(self) -> dict[str, Any]:
        """Returns the job as values for JSON, without the folder."""
        return {
            "settings": self.settings.json(),
            "output": self.output.json(),
            "segments": [[part.start, part.stop] for part in self.segments],
            "tile": self.tile,
            "source": self.source.json(),
        }

    @classmethod
    def from_json(cls, folder: Path, values: Mapping[str, Any]) -> "Job":
        return cls(
            folder=folder,
            source=Source.from_json(values["source"]),
            settings=RestoreSettings.from_json(values["settings"]),
            output=Output.from_json(values["output"]),
            segments=[range(start, stop) for start, stop in values["segments"]],
            tile=(values["tile"][0], values["tile"][1]),
        )

    def missing(self) -> list[int]:
        """Returns the numbers of the segments that are not finished."""
        return [number for number in range(len(self.segments)) if not self.path(number).exists()]


def parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a job during the block, after removing half-written files that killed processes have left.

    Raises:
        BlockingIOError: if another process holds the lock.
        OSError: if the folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(f"another process is restoring into {folder}; wait for it, or choose another output") from error
    try:
        for left in folder.glob(".*.part"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        lock.release()


def find_job(folder: Path, inputs: Path, settings: RestoreSettings) -> Job | None:
    """Returns the unfinished job in a folder, to continue it; None if there is none.

    Raises:
        ValueError: if the input, the settings or the versions of packages have changed since it was started.
    """
    path = folder / "job.json"
    if not path.exists():
        return None
    begun = json.loads(path.read_text())
    old = RestoreSettings.from_json(begun["settings"])
    changes = settings.differences(old)
    changes += [
        f"{name} was {begun['made by'][name]}, is {now}" for name, now in versions().items() if begun["made by"][name] != now
    ]
    if not changes and begun["model"] != models_hash(settings):
        changes = ["the file of the model has changed"]
    if not changes and not is_same_input(inputs, begun["input"]):
        changes = [f"{inputs} has changed"]
    if changes:
        done = len([name for name in folder.iterdir() if name.stem.isdigit()])
        raise ValueError(
            f"{folder} holds {done} of {len(begun['segments'])} segments of another job: {'; '.join(changes)}. "
            "Go on with the same command and input, or begin anew with restart (--restart)"
        )
    job = Job.from_json(folder, begun)
    return replace(job, source=replace(job.source, path=str(inputs)), settings=settings)


def start_job(job: Job, inputs: Path) -> None:
    """Writes a new job to its folder. From then on it can be continued after an interruption.

    Raises:
        OSError: if it cannot be written.
    """
    begun = {
        "made by": versions(),
        "input": input_hashes(inputs),
        "model": models_hash(job.settings),
        **job.json(),
    }
    write_whole(job.folder / "job.json", json.dumps(begun))


def input_hashes(path: Path) -> dict[str, str]:
    """Returns hashes by which a changed input is noticed: of the files' sizes and times, and of their content."""
    return {"files": _hash_of_files(path), "content": _hash_of_content(path)}


def is_same_input(path: Path, before: Mapping[str, str]) -> bool:
    """Tells whether an input is unchanged: its sizes and times equal those before, or else its content does."""
    return _hash_of_files(path) == before["files"] or _hash_of_content(path) == before["content"]


def models_hash(settings: RestoreSettings) -> list[str]:
    """Returns the hash of each model's file; for an embedded model, which only vsedvr's version decides, its name."""
    files = [(model, model_file(model)) for model in settings.models]
    return [_hash_of_content(file) if file else model for model, file in files]


def model_file(model: str) -> Path | None:
    """Returns the file of a model, or None if the model is embedded, and so the same in every vsedvr, or has no file here."""
    if model in EMBEDDED:
        return None
    try:
        file = find_model(model)
    except (OSError, ValueError):
        return None
    return file if file.is_file() else None


def versions() -> dict[str, str]:
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "unknown"

    return {package: installed(package) for package in MADE_BY}


def _hash_of_files(path: Path) -> str:
    lines = []
    for file in _files(path):
        stat = file.stat()
        lines.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hash_of_content(path: Path) -> str:
    total = hashlib.sha256()
    for file in _files(path):
        with open(file, "rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


def _files(path: Path) -> list[Path]:
    """Returns the files of an input: the file itself, or the pictures of a folder."""
    return picture_files(path) if path.is_dir() else [path]
