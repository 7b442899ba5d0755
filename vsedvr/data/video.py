"""Decodes video files packet by packet, so that damage costs only the frames that it hit."""

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vsedvr.data.color import to_rgb, upright
from vsedvr.data.picture import Frame
from vsedvr.data.video_file import open_video

__all__ = ["VideoReading", "ascending", "clock", "read_video"]

MAX_DAMAGED = 100
"""Number of packets in a row that cannot be decoded after which the rest of a file is given up."""

logger = logging.getLogger("vsedvr")


class VideoReading:
    """A video file that is being decoded, with records of its packets.

    It is used as a context manager. It decodes the stream that players show, not a cover picture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packet_times: list[int | None] = []
        """Presentation times of the packets read so far that are shown, in the stream's time base, in the file's order."""
        self.key_times: list[tuple[int, int]] = []
        """(presentation time, decoding time) of the key frames read so far."""
        self.frame_times: list[int | None] = []
        """Presentation times of the frames decoded so far, in the order of display."""
        self.failed: list[float] = []
        """Seconds at which packets could not be read or decoded."""
        self.interlaced = False
        self.ended = False
        """Whether the whole file was read."""
        self.given_up = False
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Self:
        """Opens the file.

        Raises:
            ValueError: if it cannot be opened or has no video; the message names it.
        """
        self.container, self.stream = open_video(self.path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.container.close()

    def packets(self) -> "Iterator[av.Packet[VideoStream]]":
        """Yields the packets from here on, in the file's order, the last one empty. Unreadable ones are noted in `failed`."""
        packets = self.container.demux(self.stream)
        second, in_a_row = 0.0, 0
        while in_a_row < MAX_DAMAGED:
            try:
                packet = next(packets, None)
            except EndOfFileError:
                return
            except FFmpegError:
                self.failed.append(second)
                in_a_row += 1
                packets = self.container.demux(self.stream)  # a generator ends when it raises
                continue
            if packet is None:
                return
            in_a_row = 0
            second = self._second(packet.pts, second)
            if packet.size and not packet.is_discard:
                self.packet_times.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    self.key_times.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            yield packet
        self.given_up = True

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields the frames from here on, in the order of display. Frames that cannot be decoded are noted in `failed`."""
        second, in_a_row = 0.0, 0
        for packet in self.packets():
            second = self._second(packet.pts, second)
            try:
                decoded = packet.decode()
            except EndOfFileError:
                break
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.failed.append(second)
                in_a_row += 1
                if in_a_row == MAX_DAMAGED:
                    self.given_up = True
                    return
                continue
            for frame in decoded:
                in_a_row = 0
                self.frame_times.append(frame.pts)
                self.interlaced |= frame.interlaced_frame
                yield frame
        self.ended = True

    def rgb(self, frame: av.VideoFrame) -> Frame:
        """Converts a frame to RGB (height, width, 3), uint8, rotated upright.

        Raises:
            ValueError: if its matrix is not supported; the message names the file.
        """
        try:
            return upright(to_rgb(frame, self._reformatter), frame)
        except (ValueError, FFmpegError) as error:
            raise ValueError(f"cannot read the video {self.path}: {error}") from error

    def lost(self) -> list[int]:
        """Returns the numbers of frames lost by damage so far, in a count that includes them; [] if times do not tell them."""
        times = ascending(self.frame_times)
        packets = ascending(sorted(time for time in self.packet_times if time is not None))
        if not self.failed or not times or len(packets) < len(self.packet_times):
            return []
        there = set(times)
        return [place for place, time in enumerate(packets) if time not in there and (self.ended or time < times[-1])]

    def warn(self) -> None:
        """Logs warnings about damage, and about interlaced video."""
        if self.failed:
            count = max(len(self.failed), len(self.lost()))
            places = [clock(second) for second in dict.fromkeys(self.failed)]
            others = f" and {len(places) - 3} other places" if len(places) > 3 else ""
            logger.warning(
                "%s is damaged at %s%s: %d frame%s lost", self.path, ", ".join(places[:3]), others, count, "s" * (count != 1)
            )
        if self.given_up:
            logger.warning("%s: nothing can be read from %s on", self.path, clock(self.failed[-MAX_DAMAGED]))
        if self.interlaced:
            logger.warning("%s is interlaced; its frames are taken as they are: deinterlace it first", self.path)

    def _second(self, time: int | None, otherwise: float) -> float:
        """Converts a presentation time to seconds from the beginning of the stream; returns `otherwise` if it is not known."""
        if time is None or self.stream.time_base is None:
            return otherwise
        return float((time - (self.stream.start_time or 0)) * self.stream.time_base)


def read_video(path: Path) -> Iterator[Frame]:
    """Yields the frames of a video file in RGB, (height, width, 3), uint8, rotated upright.

    Frames in damaged packets are left out; a warning in the log tells when and how many.

    Raises:
        ValueError: if nothing of it can be read, or its matrix is not supported; the message names it.
    """
    with VideoReading(path) as reading:
        count = 0
        for frame in reading.frames():
            count += 1
            yield reading.rgb(frame)
        if not count:
            raise ValueError(f"cannot read the video {path}: none of its frames can be decoded")
        reading.warn()


def ascending(times: Sequence[int | None]) -> list[int]:
    """Returns the times if they are all known and ascending, so that they identify frames; otherwise []."""
    known = [time for time in times if time is not None]
    return known if len(known) == len(times) and all(a < b for a, b in pairwise(known)) else []


def clock(seconds: float) -> str:
    """Formats a time as h:mm:ss.hh, as players show it."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}:{rest:05.2f}"
