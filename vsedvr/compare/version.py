"""Versions of a clip that are compared, and how they are resized to a common size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from vsedvr.data.clip import Clip
from vsedvr.data.picture import Frame
from vsedvr.data.video import VideoReading
from vsedvr.data.video_clip import VideoClip

__all__ = ["ENLARGEMENTS", "Frames", "Version", "as_versions", "clean_name", "fitted", "show_size"]

ENLARGEMENTS = {"bicubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}
"""Methods to enlarge a smaller version. Bicubic is MATLAB's (a = -0.5); nearest repeats pixels."""


class Frames(Protocol):
    """RGB frames by number, each (height, width, 3) in 0..255, all of the same size. A list of arrays is enough."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int, /) -> Frame: ...


@dataclass(frozen=True)
class Version:
    """One version of a clip that is compared: the input, a restored clip, or the ground truth."""

    name: str
    """Name of the version on the page."""
    frames: Frames
    size: tuple[int, int]
    """(height, width) of the frames in pixels."""
    about: str = ""
    """More about the version, such as its model."""
    seconds: Callable[[int], float] | None = None
    """Function that returns the time of frame n in seconds, counted from the first frame. None if times are not known."""
    close: Callable[[], object] = lambda: None
    """Function that closes files and frees memory. Reading a frame later opens them again."""

    def frame(self, n: int) -> Frame:
        """Returns frame n, (height, width, 3) in 0..255.

        Raises:
            ValueError: if it cannot be read, or has another size than the others; the message names it.
        """
        frame = self.frames[n]
        if frame.shape[:2] != self.size:
            here = show_size((frame.shape[0], frame.shape[1]))
            raise ValueError(f"frame {n} of {self.name} is {here}, the first one is {show_size(self.size)}")
        return frame


def as_versions(paths: Sequence[Path], clips: Sequence[Clip]) -> list[Version]:
    """Makes versions from clips, named by their files, or by their whole paths if two files have the same name.

    Args:
        paths: paths of the clips.
        clips: the opened clips, in the same order.

    Raises:
        ValueError: if a path is given twice.
    """
    places = [path.resolve() for path in paths]
    twice = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if twice:
        raise ValueError(f"{twice} is given twice, and a clip does not differ from itself")
    names = [clean_name(path.absolute().name) for path in paths]
    if len(set(names)) < len(names):
        names = [clean_name(str(path)) for path in paths]
    if len(set(names)) < len(names):  # the names differ only in characters that cannot be shown
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return [_as_version(path, clip, name) for path, clip, name in zip(paths, clips, names, strict=True)]


def clean_name(name: str) -> str:
    """Replaces characters of a file name that cannot be shown, such as bytes that are not UTF-8, by a mark."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in name)


def fitted(picture: Frame, size: tuple[int, int], enlarge: str) -> Frame:
    """Resizes a picture to the common size in which all versions are shown and measured.

    Args:
        picture: RGB picture (h, w, 3) in 0..255.
        size: (height, width) of the result in pixels.
        enlarge: method to enlarge smaller pictures, one of ENLARGEMENTS. Larger ones are reduced by bicubic with antialiasing.
    """
    if picture.shape[:2] == size:
        return np.asarray(picture)
    height, width = size
    smaller = picture.shape[0] <= height and picture.shape[1] <= width
    way = ENLARGEMENTS[enlarge] if smaller else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((width, height), way))


def show_size(size: tuple[int, int]) -> str:
    """Formats (height, width) as text with the width first, such as 640x360."""
    return f"{size[1]}x{size[0]}"


def _as_version(path: Path, clip: Clip, name: str) -> Version:
    if isinstance(clip, VideoClip):
        return Version(name, clip, clip.size, "video", _clock(path, clip), clip.close)
    return Version(name, clip, clip.size, "folder of pictures", close=clip.close)


def _clock(path: Path, clip: VideoClip) -> Callable[[int], float] | None:
    """Returns a function that gives the time of a video's frame in seconds, from the file's times or else its frame rate."""
    with VideoReading(path) as reading:
        unit, rate = reading.stream.time_base, reading.stream.average_rate

    def seconds(n: int) -> float:
        times = clip.table.times
        return float((times[n] - times[0]) * unit) if times and unit else n / float(rate or 1)

    return seconds if rate or (clip.table.times and unit) else None
