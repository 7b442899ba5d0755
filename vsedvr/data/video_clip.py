"""A video file as a clip with access to any frame by its number, while only a few frames are in memory and none on disk."""

import functools
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import av

from vsedvr.data.frame_table import FrameTable, look_through
from vsedvr.data.luma import luma, luma_difference
from vsedvr.data.picture import Frame
from vsedvr.data.video import VideoReading
from vsedvr.timeline import REACH, is_cut

__all__ = ["VideoClip"]

KEPT = 24
"""Number of frames kept in memory: a window of up to eleven, and the frames beside it for detecting a scene cut."""

BACK = REACH + 2
"""Number of frames before a requested one that are decoded too, because detecting a scene cut will request them next."""


class _OtherFramesError(Exception):
    """Raised when the decoder gives other frames than the table lists."""


class VideoClip:
    """A video file whose frames are decoded when they are read.

    Read in order, each frame is decoded once. For a frame elsewhere, decoding begins at the key frame before it. Frames have
    the same numbers as in a decoder that goes through the whole file, in whatever order the file stores them.
    """

    def __init__(self, path: Path, table: FrameTable) -> None:
        self.path = path
        self.table = table
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._coming: Generator[Frame] | None = None
        self._next = 0
        """Number of the frame that is decoded next."""
        self._differences: dict[int, float] = {}
        self._luma = functools.lru_cache(2)(lambda n: luma(self[n]))

    @property
    def size(self) -> tuple[int, int]:
        return self.table.size

    @property
    def lost(self) -> Sequence[int]:
        return self.table.lost

    def __len__(self) -> int:
        return self.table.num_frames

    def __getitem__(self, n: int) -> Frame:
        """Returns frame n, (height, width, 3), uint8, which may have to be decoded.

        Raises:
            ValueError: if the file can no longer be read; the message names it.
        """
        if not 0 <= n < len(self):
            raise IndexError(f"frame {n} of {len(self)}")
        try:
            return self._frame(n)
        except _OtherFramesError:  # the table, made from the packets, was wrong
            self.close()
            self.table = look_through(self.path)
            self._differences.clear()
        try:
            return self._frame(n)
        except (_OtherFramesError, IndexError) as error:
            raise ValueError(f"{self.path} has {len(self)} frames that can be decoded; frame {n} is none of them") from error

    def scene_starts(self, first: int, last: int) -> list[int]:
        """Returns the frames from first to last with which a scene begins, found as the filter does (timeline.is_cut)."""
        return [n for n in range(first, last + 1) if n == 0 or self._is_cut(n)]

    def close(self) -> None:
        """Closes the file and frees the frames in memory. Reading a frame later opens it again."""
        if self._coming:
            self._coming.close()
        self._coming = None
        self._kept.clear()
        self._luma.cache_clear()

    def _is_cut(self, n: int) -> bool:
        before = (self._difference(k) for k in range(n - 1, max(0, n - 1 - REACH), -1))
        after = (self._difference(k) for k in range(n + 1, min(n + 1 + REACH, len(self))))
        return is_cut(before, self._difference(n), after)

    def _difference(self, n: int) -> float:
        """Returns how much the luma of frame n differs from that of the frame before, on a scale of 1."""
        if n not in self._differences:
            self._differences[n] = luma_difference(self._luma(n - 1), self._luma(n))
        return self._differences[n]

    def _frame(self, n: int) -> Frame:
        if n >= len(self):
            raise IndexError(f"frame {n} of {len(self)}")
        if n not in self._kept and (self._coming is None or not self._next <= n < self._next + KEPT):
            self.close()
            self._next = max(0, n - BACK)
            self._coming = self._frames_from(self._next)
        while n not in self._kept:
            frame = next(self._coming, None) if self._coming else None
            if frame is None:
                raise _OtherFramesError
            self._kept[self._next] = frame
            self._next += 1
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[n]

    def _frames_from(self, n: int) -> Generator[Frame]:
        """Yields the frames from number n to the last.

        Raises:
            _OtherFramesError: as soon as a frame is not the one that the table lists.
        """
        for start in self._starts(n):
            with VideoReading(self.path) as reading:
                for number, frame in self._numbered(reading, start):
                    if number == len(self):
                        return
                    right = not self.table.times or frame.pts == self.table.times[number]
                    if start is not None and number <= n and (frame.is_corrupt or not right):
                        break
                    if not right:
                        raise _OtherFramesError
                    if number >= n:
                        yield self._picture(reading, frame, number)
                else:
                    return

    def _starts(self, n: int) -> Iterator[tuple[int, int] | None]:
        """Yields starting points for decoding frame n: (time of a key frame, time to seek to); None for the file's beginning.

        Containers seek by presentation times or by decoding times, so both are tried. One key frame is not always enough: with
        open groups of pictures and periodic intra refresh, the frames after it may need earlier ones. The decoder leaves such
        frames out or marks them, and the next starting point is tried.
        """
        if self.table.times:
            keys = self.table.key_times[: bisect_right(self.table.key_times, self.table.times[n], key=lambda key: key[0])]
            steps = 1
            while steps < len(keys):
                yield from ((keys[-steps][0], time) for time in dict.fromkeys(keys[-steps]))
                steps *= 4
        yield None

    def _numbered(self, reading: VideoReading, start: tuple[int, int] | None) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields decoded frames with their numbers, from a key frame on (see _starts), or from the file's first frame."""
        if start is None:
            return enumerate(reading.frames())
        key, time = start
        reading.container.seek(time, stream=reading.stream)
        # Frames that are earlier in time belong to the group of pictures before, which is not decoded
        frames = (frame for frame in reading.frames() if frame.pts is not None and frame.pts >= key)
        return enumerate(frames, bisect_left(self.table.times, key))

    def _picture(self, reading: VideoReading, frame: av.VideoFrame, number: int) -> Frame:
        picture = reading.rgb(frame)
        if picture.shape[:2] != self.size:
            (height, width), (other_height, other_width) = self.size, picture.shape[:2]
            raise ValueError(
                f"{self.path} changes its size from {width}x{height} to {other_width}x{other_height} at frame {number}"
            )
        return picture
