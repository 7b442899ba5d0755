"""Videos decoded to disk for training, so that many processes can read frames in any order without delay."""

import errno
import hashlib
import json
import math
import platform
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import psutil

from vsedvr.atomic import whole_folder
from vsedvr.data.luma import luma, luma_difference
from vsedvr.data.picture import Frame
from vsedvr.data.video import VideoReading
from vsedvr.timeline import scene_starts

__all__ = ["DecodedVideo", "open_decoded"]

OWNER = "owner.json"
"""Name of the file in a decoded video's folder that tells which process is writing it."""


class DecodedVideo:
    """A video that was decoded to disk. It can be passed to another process."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.file = folder / "frames.rgb"
        self.length, *self.shape = index["shape"]
        self.size = (self.shape[0], self.shape[1])
        self.lost: Sequence[int] = index["lost"]
        self._scene_starts: list[int] = index["scene_starts"]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, n: int) -> Frame:
        """Returns frame n, (height, width, 3), uint8, mapped from the file anew: only it is read, and no file stays open."""
        if not 0 <= n < self.length:
            raise IndexError(f"frame {n} of {self.length}")
        return np.memmap(self.file, np.uint8, "r", offset=n * math.prod(self.shape), shape=tuple(self.shape))

    def scene_starts(self, first: int, last: int) -> list[int]:
        """Returns the frames from first to last with which a scene begins (timeline.is_cut)."""
        starts = self._scene_starts
        return starts[bisect_left(starts, first) : bisect_right(starts, last)]

    def close(self) -> None:
        """Does nothing, because no file is open between two frames."""


def open_decoded(path: Path, cache: Path, max_frames: int | None) -> DecodedVideo:
    """Decodes a video into a folder below `cache`, or opens it there if it was decoded before.

    Folders that killed processes left unfinished are removed.

    Args:
        path: path of the video file.
        cache: folder for decoded videos, 3 bytes per pixel.
        max_frames: maximum number of frames, from the beginning.

    Raises:
        ValueError: if it cannot be read, or its size changes; the message names it.
        OSError: if the disk has too little room for it; this is checked before anything is decoded.
    """
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {max_frames}".encode()).hexdigest()[:12]
    folder = cache / f"{path.stem}-{key}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache)
        try:
            with whole_folder(folder) as temporary:
                _decode(path, temporary, max_frames)
        except FileExistsError:  # another process was faster
            if not folder.exists():
                raise
    return DecodedVideo(folder)


def _decode(path: Path, folder: Path, max_frames: int | None) -> None:
    (folder / OWNER).write_text(json.dumps([platform.node(), psutil.Process().pid, psutil.Process().create_time()]))
    differences: list[float] = []
    with VideoReading(path) as reading, open(folder / "frames.rgb", "wb") as file:
        before, shape = None, None
        for frame in islice(reading.frames(), max_frames):
            picture = reading.rgb(frame)
            if shape is None:
                shape = picture.shape
                _check_room(folder, reading, picture.nbytes, max_frames)
            if picture.shape != shape:
                raise ValueError(f"{path} changes its size from {shape[1]}x{shape[0]} at frame {len(differences)}")
            file.write(np.ascontiguousarray(picture).data)
            here = luma(picture)
            differences.append(0.0 if before is None else luma_difference(before, here))
            before = here
        if shape is None:
            raise ValueError(f"cannot read the video {path}: none of its frames can be decoded")
        reading.warn()
        index = {"shape": [len(differences), *shape], "scene_starts": scene_starts(differences), "lost": reading.lost()}
    (folder / "index.json").write_text(json.dumps(index))


def _check_room(folder: Path, reading: VideoReading, frame_bytes: int, max_frames: int | None) -> None:
    """Compares the size of all frames with the free space of the disk, if the file tells the number of frames.

    Raises:
        OSError: ENOSPC, if there is too little room.
    """
    stream = reading.stream
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    if not seconds and reading.container.duration:
        seconds = reading.container.duration / 1_000_000
    known = stream.frames or int(seconds * (stream.average_rate or 0))
    frames = min(known, max_frames) if known and max_frames else known or max_frames or 0
    free = shutil.disk_usage(folder).free
    if frames * frame_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"its {frames} frames decoded take {frames * frame_bytes / 1e9:.1f} GB in {folder.parent}, where "
            f"{free / 1e9:.1f} GB are free; make room, or take fewer frames (data.max_frames)",
            str(reading.path),
        )


def _remove_abandoned(cache: Path) -> None:
    """Removes folders whose writing process, on this machine, no longer runs."""
    for owner in cache.glob(f".*/{OWNER}"):
        try:
            node, pid, started = json.loads(owner.read_text())
            running = psutil.pid_exists(pid) and abs(psutil.Process(pid).create_time() - started) < 1
        except (OSError, ValueError, psutil.Error):  # the folder was just finished, or is just being started
            continue
        if node == platform.node() and not running:
            shutil.rmtree(owner.parent, ignore_errors=True)
