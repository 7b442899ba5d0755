"""Versions of one clip that are to be compared, and how they are brought to one size."""

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
"""Ways to enlarge a smaller version. Bicubic is MATLAB's (a = -0.5); nearest repeats pixels."""


class Frames(Protocol):
    """RGB frames by number, (height, width, 3), all of one size. A list of arrays is enough."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int, /) -> Frame: ...


@dataclass(frozen=True)
class Version:
    """One of the clips that are compared: the input, a restored one, the ground truth."""

    name: str
    """How the page calls it."""
    frames: Frames
    size: tuple[int, int]
    """(height, width) of the frames."""
    about: str = ""
    """What else there is to know, such as the model."""
    seconds: Callable[[int], float] | None = None
    """Gives the time of a frame, counted from the first. None where there are no times, as in a folder of pictures."""
    close: Callable[[], object] = lambda: None
    """Lets go of files and memory. A frame that is asked for later opens them again."""

    def frame(self, n: int) -> Frame:
        """
        Raises:
            ValueError: if it cannot be read, or has another size than the others; the message names it.
        """
        frame = self.frames[n]
        if frame.shape[:2] != self.size:
            here = show_size((frame.shape[0], frame.shape[1]))
            raise ValueError(f"frame {n} of {self.name} is {here}, the first one is {show_size(self.size)}")
        return frame


def as_versions(paths: Sequence[Path], clips: Sequence[Clip]) -> list[Version]:
    """Clips from files as versions. Each is named by its file, and by its whole path where two files have the same name.

    Args:
        paths: where the clips lie.
        clips: the same, opened.

    Raises:
        ValueError: if one is given twice.
    """
    places = [path.resolve() for path in paths]
    twice = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if twice:
        raise ValueError(f"{twice} is given twice, and a clip does not differ from itself")
    names = [clean_name(path.absolute().name) for path in paths]
    if len(set(names)) < len(names):
        names = [clean_name(str(path)) for path in paths]
    if len(set(names)) < len(names):  # they differ only in what cannot be shown
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return [_as_version(path, clip, name) for path, clip, name in zip(paths, clips, names, strict=True)]


def clean_name(name: str) -> str:
    """A file name as text for people: what cannot be shown becomes a mark, such as bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in name)


def fitted(picture: Frame, size: tuple[int, int], enlarge: str) -> Frame:
    """A picture in the size that all versions are shown and measured in.

    Args:
        picture: (h, w, 3).
        size: (height, width) of the result.
        enlarge: one of ENLARGEMENTS. What is larger is reduced by bicubic with antialiasing.
    """
    if picture.shape[:2] == size:
        return np.asarray(picture)
    height, width = size
    smaller = picture.shape[0] <= height and picture.shape[1] <= width
    way = ENLARGEMENTS[enlarge] if smaller else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((width, height), way))


def show_size(size: tuple[int, int]) -> str:
    """(height, width) in words: 640x360, the width first."""
    return f"{size[1]}x{size[0]}"


def _as_version(path: Path, clip: Clip, name: str) -> Version:
    if isinstance(clip, VideoClip):
        return Version(name, clip, clip.size, "video", _clock(path, clip), clip.close)
    return Version(name, clip, clip.size, "folder of pictures", close=clip.close)


def _clock(path: Path, clip: VideoClip) -> Callable[[int], float] | None:
    """The times of a video's frames: those in the file, or by its frame rate where it has none that are of use."""
    with VideoReading(path) as reading:
        unit, rate = reading.stream.time_base, reading.stream.average_rate

    def seconds(n: int) -> float:
        times = clip.table.times
        return float((times[n] - times[0]) * unit) if times and unit else n / float(rate or 1)

    return seconds if rate or (clip.table.times and unit) else None
