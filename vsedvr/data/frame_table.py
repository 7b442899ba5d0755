"""Tables of the frames in a video file: their times and sizes, without the pictures."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vsedvr.data.video import VideoReading, ascending

__all__ = ["FrameTable", "index", "look_through"]


@dataclass(frozen=True)
class FrameTable:
    """Facts about the frames of a video file, by their numbers."""

    num_frames: int
    size: tuple[int, int]
    """(height, width) in pixels after rotating upright."""
    times: Sequence[int]
    """Presentation time of each frame, ascending, in the stream's time base; empty if the file's times cannot be used."""
    key_times: Sequence[tuple[int, int]]
    """(presentation time, decoding time) of each frame at which decoding can begin, ascending."""
    lost: Sequence[int] = ()
    """Numbers of frames lost by damage, in a count that includes them."""


def look_through(path: Path, max_frames: int | None = None) -> FrameTable:
    """Decodes a video once, keeping only the times of its frames, so that every fault shows before work begins.

    Damage is logged as a warning.

    Args:
        path: path of the video file.
        max_frames: maximum number of frames to decode, from the beginning.

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
    """Numbers a video's frames by the times of its packets: the whole file is read, but only its beginning is decoded.

    If packets do not suffice (no times, two frames in one packet, or one frame in two, as interlaced video may have), the whole
    video is decoded instead.

    Raises:
        ValueError: if nothing can be decoded, its matrix is not supported, or its size changes; the message names it.
    """
    with VideoReading(path) as reading:
        first = next(reading.frames(), None)
        if first is not None and first.pts is not None:
            size = reading.rgb(first).shape[:2]
            for _ in reading.packets():
                pass
            packets = ascending(sorted(time for time in reading.packet_times if time is not None))
            times = packets[bisect_left(packets, first.pts) :]  # frames before this one need others that the file lacks
            doubtful = reading.failed or reading.interlaced or reading.stream.codec_context.name == "vp8"
            if times and times[0] == first.pts and len(packets) == len(reading.packet_times) and not doubtful:
                return FrameTable(len(times), size, times, sorted(reading.key_times))
    return look_through(path)
