"""Clips as sequences of RGB frames: folders of pictures, and video files of any kind."""

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from vsedvr.timeline import scene_starts

__all__ = [
    "PICTURES",
    "VIDEOS",
    "Clip",
    "Frame",
    "FrameFolder",
    "find_clips",
    "fingerprint",
    "open_clip",
    "read_picture",
    "read_video",
    "to_rgb",
]

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".y4m"}

UNSPECIFIED = 2
"""FFmpeg's AVCOL_SPC_UNSPECIFIED."""

Frame = NDArray[np.uint8]
"""(h, w, 3), RGB."""


class Clip(Protocol):
    """Frames by number, all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""

    @property
    def scene_starts(self) -> list[int]:
        """Frames that a scene begins with, the first frame included."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int) -> Frame: ...


class FrameFolder:
    """The pictures of a folder, ordered by the numbers in their names (im2 before im10); one scene."""

    def __init__(self, folder: Path) -> None:
        self.frames = sorted(_pictures(folder), key=_natural)
        if not self.frames:
            raise ValueError(f"no pictures ({', '.join(sorted(PICTURES))}) in {folder}")
        self.size = _size(self.frames[0])
        self.scene_starts = [0]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, n: int) -> Frame:
        return read_picture(self.frames[n])


class DecodedVideo:
    """A video that was decoded to disk, where any frame is at hand at once."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.file = folder / "frames.rgb"
        self.length, *self.shape = index["shape"]
        self.size = (self.shape[0], self.shape[1])
        self.scene_starts: list[int] = index["scene_starts"]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, n: int) -> Frame:
        """Mapped anew each time: so only what is looked at is read, and the clip itself can go to another process."""
        if not 0 <= n < self.length:
            raise IndexError(f"frame {n} of {self.length}")
        return np.memmap(self.file, np.uint8, "r", offset=n * math.prod(self.shape), shape=tuple(self.shape))


def find_clips(root: Path) -> dict[str, Path]:
    """Everything below a folder that is a clip, by its path below the folder: video files and folders with pictures.

    If root is itself a video or holds pictures, it is the only clip, under its own name.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if nothing below it is a clip.
    """
    if not root.exists():
        raise FileNotFoundError(f"no clip or folder of clips at {root}")
    if root.is_file() or _pictures(root):
        return {root.name: root}
    below = sorted(root.rglob("*"), key=_natural)
    clips = {p.relative_to(root).as_posix(): p for p in below if _is_video(p) or (p.is_dir() and _pictures(p))}
    if not clips:
        raise ValueError(f"neither video files ({', '.join(sorted(VIDEOS))}) nor folders of pictures below {root}")
    return clips


def open_clip(path: Path, cache: Path, max_frames: int | None = None) -> Clip:
    """A folder of pictures or a video file.

    Args:
        path: where it lies.
        cache: folder in which a video is kept decoded, 3 bytes a pixel; another time it is found there.
        max_frames: how many frames of a video to take, from its beginning.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    if path.is_dir():
        return FrameFolder(path)
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {max_frames}".encode()).hexdigest()[:12]
    folder = cache / f"{path.stem}-{key}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _decode(path, folder, max_frames)
    return DecodedVideo(folder)


def fingerprint(path: Path) -> str:
    """A hash by which changed data is found out: of a file its content, of a folder the names and sizes of its pictures."""
    if path.is_dir():
        lines = (f"{picture.name} {picture.stat().st_size}" for picture in sorted(_pictures(path)))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decode(path: Path, folder: Path, max_frames: int | None) -> None:
    """Into a folder that appears only when it is complete."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        lumas: list[NDArray[np.floating]] = []
        shape: tuple[int, ...] = ()
        with open(temporary / "frames.rgb", "wb") as file:
            for frame in islice(read_video(path), max_frames):
                if shape and frame.shape != shape:
                    raise ValueError(f"{path} changes its size from {shape[1]}x{shape[0]} at frame {len(lumas)}")
                shape = frame.shape
                file.write(frame.tobytes())
                lumas.append(frame[::4, ::4].mean(2) / 255)
        if not lumas:
            raise ValueError(f"the video {path} has no frames")
        changes = [float(abs(b - a).mean()) for a, b in pairwise(lumas)]
        index = {"shape": [len(lumas), *shape], "scene_starts": scene_starts([0.0, *changes])}
        (temporary / "index.json").write_text(json.dumps(index))
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:  # another process was faster
        if not folder.exists():
            raise


def read_picture(path: Path) -> Frame:
    """A picture as 8-bit RGB.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for some broken PNG files
        raise ValueError(f"cannot read the picture {path}: {error}") from error


def read_video(path: Path) -> Iterator[Frame]:
    """The frames of a video file in 8-bit RGB, converted by the matrix and range that they are tagged with.

    Without a tag the matrix is BT.709 from 720 lines on and BT.601 below, as players take it.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            reformatter = VideoReformatter()
            for frame in container.decode(video=0):
                yield to_rgb(frame, reformatter)
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot read the video {path}: {error}") from error


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Frame:
    """A decoded frame in 8-bit RGB; its tags and their absence as in read_video."""
    matrix: int = frame.colorspace
    if matrix == UNSPECIFIED:
        matrix = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    rgb = reformatter.reformat(
        frame, format="rgb24", src_colorspace=matrix, src_color_range=frame.color_range, interpolation=exact
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS and path.is_file()


def _size(path: Path) -> tuple[int, int]:
    """Of a picture, without decoding it: a data set may have a hundred thousand clips."""
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot read the picture {path}: {error}") from error


def _natural(path: Path) -> list[str | int]:
    """Sorts 2 before 10; text and numbers alternate, so that like meets like."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]
