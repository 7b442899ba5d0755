"""The functions that a worker process runs. The process that leads the job calls them (see the modules cluster and team)."""

import json
import os
import platform
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
import vapoursynth as vs

from vsedvr.infer import choose_device, share_memory
from vsedvr.restore.job import Job, is_same_input, models_hash, versions
from vsedvr.restore.segment import release, restore_segment
from vsedvr.restore.settings import device_index
from vsedvr.restore.tiles import Room, room_of

__all__ = ["NoOrderError", "Order", "Station", "WorkerFacts", "accept", "check", "finish", "look", "receive", "restore"]

SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class WorkerFacts:
    """Facts that a worker reports about itself."""

    versions: Mapping[str, str]
    machine: str
    card: str
    """Identity of the GPU on which the worker restores, unique over all machines; empty for a CPU."""
    room: Room
    """Device and memory that the worker would have if it were alone on its machine and GPU."""


@dataclass(frozen=True)
class Order:
    """A job in the form in which it is sent to workers on any operating system."""

    id: str
    """Id of the order, different in each run."""
    folder: str
    """Path of the folder in which segments are kept."""
    token: str
    """Name of a file in that folder. A worker that can see this file can see the folder; when it is gone, the job has ended."""
    begun: str
    """Content of the file job.json."""
    models: list[str]
    """Names of embedded models, or absolute paths of checkpoints."""
    ship: bool
    """Whether the input and the models are sent to the worker."""


@dataclass(frozen=True)
class Station:
    """A worker's device and its share of a machine."""

    device: str | None
    cores: int | None
    """Number of CPU cores that the machine's workers share; None for all."""
    on_machine: int
    """Number of workers of this job on the machine."""
    on_device: int
    """Number of workers of this job on the same CPU or GPU."""


@dataclass
class _Post:
    order: Order
    job: Job
    sees_parts: bool
    finished: bool = False

    @property
    def ended(self) -> bool:
        return self.finished or (self.sees_parts and not Path(self.order.folder, self.order.token).exists())


class NoOrderError(Exception):
    """Raised when a worker that has just joined was asked for a segment before it got the order."""


class _JobEndedError(Exception):
    """Raised in a worker when the job ends while it restores a segment."""


_posts: dict[str, _Post] = {}
_ready: defaultdict[str, threading.Event] = defaultdict(threading.Event)
"""Events by id of the order, which are set when the worker may begin."""
_one_at_a_time = threading.Lock()


def look(device: str | None, precision: str | None) -> WorkerFacts:
    """Returns the facts of this worker.

    Raises:
        ValueError: if there is no such device or precision.
    """
    chosen = choose_device(device_index(device))
    machine = platform.node()
    card = f"{machine} {torch.cuda.get_device_properties(chosen).uuid}" if chosen.type == "cuda" else ""
    return WorkerFacts(versions(), machine, card, room_of(device, precision))


def accept(order: Order, station: Station, folder: Path) -> bool:
    """Prepares this worker for an order.

    Args:
        order: job to work on.
        station: device and share of the machine that the worker gets.
        folder: folder in which the worker may keep files.

    Returns:
        Whether the worker can write to the job's folder itself. If not, it returns the files of segments.
    """
    threads = max(1, (station.cores or os.cpu_count() or 1) // station.on_machine)
    torch.set_num_threads(threads)
    vs.core.num_threads = threads
    vs.core.max_cache_size = max(64, _frame_cache() // station.on_machine)
    share_memory(station.on_device)
    seen = Path(order.folder)
    sees_parts = (seen / order.token).exists() and os.access(seen, os.W_OK)
    own = folder / f"vsedvr-{order.id}"
    own.mkdir(parents=True, exist_ok=True)
    job = Job.from_json(seen if sees_parts else own, json.loads(order.begun))
    source, models = job.source, order.models
    if order.ship:
        source = replace(source, path=str(own / "input" / _name(source.path)))
        sent = {k: own / f"model{k}" / _name(model) for k, model in enumerate(models)}
        models = [str(sent[k]) if _is_path(model) else model for k, model in enumerate(models)]
    settings = replace(job.settings, model=models[0], refine=models[1] if models[1:] else None, device=station.device)
    _posts[order.id] = _Post(order, replace(job, source=source, settings=settings), sees_parts)
    return sees_parts


def receive(id: str, name: str, content: bytes, folder: Path) -> None:
    """Appends a piece to a file that is sent in pieces.

    Args:
        id: id of the order.
        name: path of the file within the order's folder.
        content: next bytes of the file.
        folder: folder in which the worker keeps files.
    """
    path = folder / f"vsedvr-{id}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(content)


def check(id: str) -> None:
    """Checks that the worker has the input and the models of its order, and lets it begin.

    Raises:
        ValueError: if something is missing or different; the message names it.
    """
    post = _posts[id]
    begun = json.loads(post.order.begun)
    path = Path(post.job.source.path)
    if not path.exists():
        raise ValueError(f"it does not see the input {path}; make it visible there, or send it with ship (--ship)")
    if not is_same_input(path, begun["input"]):
        raise ValueError(
            f"what it sees at {path} is not the input; make the same file visible there, or send it with ship (--ship)"
        )
    for model, there, wanted in zip(post.job.settings.models, models_hash(post.job.settings), begun["model"], strict=True):
        if _is_path(model) and not Path(model).exists():
            raise ValueError(f"it does not see the model {model}; make it visible there, or send it with ship (--ship)")
        if there != wanted:
            raise ValueError(f"what it sees at {model} is another model; make the same file visible there")
    _ready[id].set()


def restore(id: str, number: int, wait: float, on_frames: Callable[[int], None]) -> bytes | None:
    """Restores a segment of an order.

    Args:
        id: id of the order.
        number: number of the segment.
        wait: seconds to wait for the order, for a worker that has only just joined.
        on_frames: called about once a second with the number of frames of the segment that are done.

    Returns:
        Content of the segment's file; None if the worker could write it to the job's folder.

    Raises:
        NoOrderError: if the order does not come in time.
        ValueError, OSError: as raised by restore_segment.
    """
    if not _ready[id].wait(wait):
        raise NoOrderError(f"no order {id} came within {wait:g} seconds")
    post = _posts[id]
    done, told = 0, time.monotonic()

    def on_frame() -> None:
        nonlocal done, told
        if post.ended:
            raise _JobEndedError
        done += 1
        if time.monotonic() - told >= SECONDS_BETWEEN_REPORTS:
            told = time.monotonic()
            on_frames(done)

    with _one_at_a_time:
        restore_segment(post.job, number, on_frame)
    if post.sees_parts:
        return None
    path = post.job.path(number)
    content = path.read_bytes()
    path.unlink()
    return content


def finish(id: str, folder: Path) -> None:
    """Ends an order: stops a segment that is being restored, and frees files and memory."""
    if id in _posts:
        _posts.pop(id).finished = True
    _ready.pop(id, None)
    release()
    shutil.rmtree(folder / f"vsedvr-{id}", ignore_errors=True)


def _is_path(model: str) -> bool:
    """Tells whether a model is given by path. Names of embedded models have no separators; paths are sent in full."""
    return "/" in model or "\\" in model


def _name(path: str) -> str:
    """Returns the last part of a path, whose separators may be those of another operating system."""
    return path.replace("\\", "/").rpartition("/")[2]


@cache
def _frame_cache() -> int:
    """Returns the size of VapourSynth's cache of frames that it chose itself, in MiB."""
    return vs.core.max_cache_size
