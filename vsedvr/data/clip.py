"""Clips as sequences of RGB frames: what every clip can do, folders of pictures, and how a clip is opened.

Other rooms find here, too, what goes with clips: finding and reading them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vsedvr.data.decoded import open_decoded
from vsedvr.data.find import PICTURES, find_clips, fingerprint, picture_names
from vsedvr.data.frame_table import index, look_through
from vsedvr.data.picture import Frame, picture_size, read_picture
from vsedvr.data.video import read_video
from vsedvr.data.video_clip import VideoClip

__all__ = [
    "PICTURES",
    "Clip",
    "Frame",
    "FrameFolder",
    "check_sizes",
    "find_clips",
    "fingerprint",
    "open_at_any_frame",
    "open_clip",
    "read_picture",
    "read_video",
]


class Clip(Protocol):
    """Frames by number, all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""

    @property
    def lost(self) -> Sequence[int]:
        """Places of frames that a damaged file lost, counted as if all were there. The clip's own numbers are without them."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int) -> Frame:
        """Reads frame n.

        Raises:
            IndexError: if there is no frame n.
            ValueError: if it cannot be read; the message names the file.
        """

    def scene_starts(self, first: int, last: int) -> list[int]:
        """The frames from first to last that a scene begins with. Frame 0 is one."""

    def close(self) -> None:
        """Lets go of files and memory. A frame that is asked for later opens them again."""


class FrameFolder:
    """The pictures of a folder, ordered by the numbers in their names (im2 before im10), as one scene.

    Raises:
        ValueError: if there are no pictures, or the first cannot be read.
    """

    lost = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = tuple(picture_names(folder))
        if not self.names:
            raise ValueError(f"no pictures ({', '.join(sorted(PICTURES))}) in {folder}")
        self.size = picture_size(folder / self.names[0])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, n: int) -> Frame:
        return read_picture(self.folder / self.names[n])

    def scene_starts(self, first: int, last: int) -> list[int]:
        return [0] if first <= 0 <= last else []

    def close(self) -> None:
        """Nothing is open between two frames."""


def open_clip(path: Path, cache: Path | None, max_frames: int | None = None) -> Clip:
    """Opens a folder of pictures or a video file.

    Args:
        path: where it lies.
        cache: folder in which a video is kept decoded, 3 bytes a pixel, so that frames in any order are at hand at once;
            another time it is found there. With None the video is decoded while it is used, and nothing is written.
        max_frames: how many frames of a video to take, from its beginning.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it cannot be read, or the disk has no room for the decoded video; the message names it.
    """
    _check_there(path)
    if path.is_dir():
        return FrameFolder(path)
    if cache is None:
        return VideoClip(path, look_through(path, max_frames))
    return open_decoded(path, cache, max_frames)


def open_at_any_frame(path: Path) -> Clip:
    """Opens a clip of which a few frames are wanted: of a video no more is decoded than they need.

    Raises:
        FileNotFoundError, ValueError: as open_clip.
    """
    _check_there(path)
    return FrameFolder(path) if path.is_dir() else VideoClip(path, index(path))


def check_sizes(clip: Clip, num_frames: int) -> None:
    """Looks at the headers of a folder's first pictures; videos are looked through when they are opened.

    Raises:
        ValueError: if one cannot be read, or differs from the first in size; the message names it.
    """
    if not isinstance(clip, FrameFolder):
        return
    for n, name in enumerate(clip.names[:num_frames]):
        height, width = picture_size(clip.folder / name)
        if (height, width) != clip.size:
            first = f"{clip.size[1]}x{clip.size[0]}"
            raise ValueError(f"frame {n} ({clip.folder / name}) is {width}x{height}, the first frame is {first}")


def _check_there(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no such file or folder: {path}")
