"""The frames of a video file by their numbers: what is known of them without keeping one."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vsedvr.data.video import VideoReading, ascending

__all__ = ["FrameTable", "index", "look_through"]


@dataclass(frozen=True)
class FrameTable:
    """The frames of a video file by their numbers."""

    num_frames: int
    size: tuple[int, int]
    """(height, width), upright."""
    times: Sequence[int]
    """Presentation time of each frame, ascending, in the stream's time base; none where the file's times are of no use."""
    key_times: Sequence[tuple[int, int]]
    """Presentation and decoding times of the frames from which decoding can begin, ascending."""
    lost: Sequence[int] = ()
    """Places of frames that damage has cost, counted as if all were there."""


def look_through(path: Path, max_frames: int | None = None) -> FrameTable:
    """Decodes a video once and keeps nothing but its frames' times, so that every fault shows before work begins.

    What is damaged is told in a warning.

    Args:
        path: the video file.
        max_frames: how many frames to look at, from the beginning.

    Raises:
        ValueError: if nothing can be decoded, its matrix is not supported, or its size changes; the message names it.
    """
    size: tuple[int, int] | None = None
    shape = (0, 0)
    with VideoReading(path) as reading:
        for frame in islice(reading.frames(), max_frames):
            if size is None:
                size, shape = reading.rgb(frame).shape[:2], (frame.width, frame.height)
            elif (frame.width, frame.height) != shape:
                raise ValueError(
                    f"{path} changes its size from {shape[0]}x{shape[1]} to {frame.width}x{frame.height} at frame "
                    f"{len(reading.frame_times) - 1}"
                )
        if size is None:
            raise ValueError(f"cannot read the video {path}: none of its frames can be decoded")
        reading.warn()
        return FrameTable(
            len(reading.frame_times), size, ascending(reading.frame_times), sorted(reading.key_times), reading.lost()
        )


def index(path: Path) -> FrameTable:
    """Numbers a video's frames by the times of its packets: the file is read, but only its beginning is decoded.

    Where packets do not tell (no times, two frames in one packet or one in two, as interlaced video may have), the video is
    looked through instead.

    Raises:
        ValueError: as look_through.
    """
    with VideoReading(path) as reading:
        first = next(reading.frames(), None)
        if first is not None and first.pts is not None:
            size = reading.rgb(first).shape[:2]
            for _ in reading.packets():
                pass
            packets = ascending(sorted(time for time in reading.packet_times if time is not None))
            times = packets[bisect_left(packets, first.pts) :]  # before it are frames that need what the file does not hold
            doubtful = reading.failed or reading.interlaced or reading.stream.codec_context.name == "vp8"
            if times and times[0] == first.pts and len(packets) == len(reading.packet_times) and not doubtful:
                return FrameTable(len(times), size, times, sorted(reading.key_times))
    return look_through(path)
