"""Clips as sequences of RGB frames: the protocol of all clips, folders of pictures, and opening a clip.

Other sub-packages also import the functions that find clips and read pictures from here.
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
    """Frames by number, all of the same size."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""

    @property
    def lost(self) -> Sequence[int]:
        """Numbers of frames that a damaged file has lost, in a count that includes them. The numbers of frames skip them."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int) -> Frame:
        """Reads frame n as RGB (height, width, 3), uint8.

        Raises:
            IndexError: if there is no frame n.
            ValueError: if it cannot be read; the message names the file.
        """

    def scene_starts(self, first: int, last: int) -> list[int]:
        """Returns the frames from first to last with which a scene begins. Frame 0 is one of them."""

    def close(self) -> None:
        """Closes files and frees memory. Reading a frame later opens them again."""


class FrameFolder:
    """The pictures of a folder as a clip, ordered by the numbers in their names (im2 before im10), as a single scene.

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
        """Does nothing, because no file is open between two frames."""


def open_clip(path: Path, cache: Path | None, max_frames: int | None = None) -> Clip:
    """Opens a folder of pictures or a video file.

    Args:
        path: path of the folder or file.
        cache: folder in which a decoded copy of a video is kept, 3 bytes per pixel, so that frames can be read in any order
            without delay; it is reused the next time. With None the video is decoded while it is used, and nothing is written.
        max_frames: maximum number of frames of a video, from its beginning.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if it cannot be read, or the disk has no room for the decoded video; the message names it.
    """
    _check_there(path)
    if path.is_dir():
        return FrameFolder(path)
    if cache is None:
        return VideoClip(path, look_through(path, max_frames))
    return open_decoded(path, cache, max_frames)


def open_at_any_frame(path: Path) -> Clip:
    """Opens a clip of which only a few frames will be read; a video is decoded only as far as they need.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if it cannot be read; the message names it.
    """
    _check_there(path)
    return FrameFolder(path) if path.is_dir() else VideoClip(path, index(path))


def check_sizes(clip: Clip, num_frames: int) -> None:
    """Checks the sizes of a folder's first pictures by their headers; for videos, opening has checked them already.

    Args:
        clip: clip to check.
        num_frames: number of pictures to check.

    Raises:
        ValueError: if a picture cannot be read, or differs from the first in size; the message names it.
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
