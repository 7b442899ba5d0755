"""What a worker process does. The process that leads the job calls these functions in it (see team)."""

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
    """What a worker says of itself."""

    versions: Mapping[str, str]
    machine: str
    card: str
    """Which GPU of all the world's it restores on; empty for the CPU."""
    room: Room
    """As if it were the only worker of its machine or card."""


@dataclass(frozen=True)
class Order:
    """A job as it is sent to workers, whatever system they run on."""

    id: str
    """No two runs have the same."""
    folder: str
    """Where the parts are kept."""
    token: str
    """Name of a file in that folder. A worker that sees it sees the folder. When it is gone, the job has ended."""
    begun: str
    """What job.json says."""
    models: list[str]
    """Names, or whole paths."""
    ship: bool
    """The input and the models are sent."""


@dataclass(frozen=True)
class Station:
    """How a worker is to work beside the others."""

    device: str | None
    cores: int | None
    """Of the machine, to be shared; None for as many as there are."""
    on_machine: int
    """Workers of this job on the machine."""
    on_device: int
    """Workers of this job on the machine's CPU or on the card."""


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
    """The worker has joined and was not welcomed yet."""


class _JobEndedError(Exception):
    """The job was ended while the worker was in the middle of a segment."""


_posts: dict[str, _Post] = {}
_ready: defaultdict[str, threading.Event] = defaultdict(threading.Event)
"""By the order's id: set when the worker may begin."""
_one_at_a_time = threading.Lock()


def look(device: str | None, precision: str | None) -> WorkerFacts:
    """What there is to restore with.

    Raises:
        ValueError: if there is no such device or precision.
    """
    chosen = choose_device(device_index(device))
    machine = platform.node()
    card = f"{machine} {torch.cuda.get_device_properties(chosen).uuid}" if chosen.type == "cuda" else ""
    return WorkerFacts(versions(), machine, card, room_of(device, precision))


def accept(order: Order, station: Station, folder: Path) -> bool:
    """Prepares for an order.

    Args:
        order: what is to be done.
        station: the share of the machine to do it with.
        folder: where the worker may keep files.

    Returns:
        Whether the worker sees the folder of the parts. If not, what it needs of them is to be sent.
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
    """Appends to a file that is sent in pieces."""
    path = folder / f"vsedvr-{id}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(content)


def check(id: str) -> None:
    """Makes sure that the worker has the input and the models of its order, and lets it begin.

    Raises:
        ValueError: if not; the message names what is missing or different.
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
        id: of the order.
        number: of the segment.
        wait: seconds to wait for the order, where the worker has only just joined.
        on_frames: called now and then with the frames of the segment that are done.

    Returns:
        The file of the segment; None where it is in the folder of the parts.

    Raises:
        NoOrderError: if none came.
        ValueError, OSError: as restore_segment.
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
    """Ends an order: a segment that is being restored is given up, and files and memory are freed."""
    if id in _posts:
        _posts.pop(id).finished = True
    _ready.pop(id, None)
    release()
    shutil.rmtree(folder / f"vsedvr-{id}", ignore_errors=True)


def _is_path(model: str) -> bool:
    """Names of models have no separators, and models of files are sent with their whole path."""
    return "/" in model or "\\" in model


def _name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rpartition("/")[2]


@cache
def _frame_cache() -> int:
    """VapourSynth's own choice for its cache of frames, in megabytes."""
    return vs.core.max_cache_size
