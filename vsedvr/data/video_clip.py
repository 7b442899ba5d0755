"""A video file as a clip: any frame by its number, while only a few frames are in memory and none on the disk."""

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
"""How many frames stay in memory: a window of up to eleven, and those beside it that tell whether there is a cut."""

BACK = REACH + 2
"""How many frames before the one asked for are read as well: to tell whether there is a cut they will be asked for next."""


class _OtherFramesError(Exception):
    """Raised when the decoder gives other frames than the table has."""


class VideoClip:
    """A video file of which frames are decoded when they are asked for.

    Asked for in order, each frame is decoded once. For a frame elsewhere decoding begins at the key frame before it. The
    numbers are those of a decoder that goes through the whole file, for whatever order the file holds its frames in.
    """

    def __init__(self, path: Path, table: FrameTable) -> None:
        self.path = path
        self.table = table
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._coming: Generator[Frame] | None = None
        self._next = 0
        """Number of the frame that comes next."""
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
        """Gives frame n, which may have to be decoded.

        Raises:
            ValueError: if the file cannot be read any more; the message names it.
        """
        if not 0 <= n < len(self):
            raise IndexError(f"frame {n} of {len(self)}")
        try:
            return self._frame(n)
        except _OtherFramesError:  # what the packets said of the frames was wrong
            self.close()
            self.table = look_through(self.path)
            self._differences.clear()
        try:
            return self._frame(n)
        except (_OtherFramesError, IndexError) as error:
            raise ValueError(f"{self.path} has {len(self)} frames that can be decoded; frame {n} is none of them") from error

    def scene_starts(self, first: int, last: int) -> list[int]:
        """The frames from first to last that a scene begins with, found as the filter finds them (timeline.is_cut)."""
        return [n for n in range(first, last + 1) if n == 0 or self._is_cut(n)]

    def close(self) -> None:
        """Closes the file and lets go of the frames in memory. A frame that is asked for later opens it again."""
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
        """How much frame n differs from the one before it."""
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
        """The frames from number n to the last.

        Raises:
            _OtherFramesError: as soon as a frame is not the one that the table has.
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
        """Where decoding to frame n may begin: time of a key frame and time to seek to; None for the beginning of the file.

        Containers seek by presentation times or by decoding times, so both are tried. And one key frame is not always enough:
        with open groups of pictures and periodic intra refresh the frames after it may need what came before. The decoder
        leaves such frames out or marks them, and the next start is tried.
        """
        if self.table.times:
            keys = self.table.key_times[: bisect_right(self.table.key_times, self.table.times[n], key=lambda key: key[0])]
            steps = 1
            while steps < len(keys):
                yield from ((keys[-steps][0], time) for time in dict.fromkeys(keys[-steps]))
                steps *= 4
        yield None

    def _numbered(self, reading: VideoReading, start: tuple[int, int] | None) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames with their numbers, from a key frame on (see _starts), or from the file's first frame."""
        if start is None:
            return enumerate(reading.frames())
        key, time = start
        reading.container.seek(time, stream=reading.stream)
        # what comes before in time belongs to the group of pictures before, which is not decoded
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
