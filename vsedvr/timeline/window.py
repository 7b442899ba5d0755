"""Computes which source frames a frame is restored from (its window), also at the two ends of a clip."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vsedvr.timeline.scene import within_scene

__all__ = ["PADDINGS", "Windows"]

PADDINGS = ("replicate", "reflection", "reflection_circle", "circle")
"""BasicSR's padding modes: ways to replace the missing frames before the first and after the last frame of a clip."""


@dataclass(frozen=True)
class Windows:
    """The windows of a clip. Nothing is stored per frame, so a clip of any length takes the same memory.

    Raises:
        ValueError: if the padding is unknown.
    """

    num_frames: int
    """Length of the clip in frames, at least 1."""
    num_frame: int
    """Number of frames in a window (the name is BasicSR's)."""
    center: int
    """Position of the restored frame in its window, from 0."""
    padding: str
    """Padding mode at the two ends of the clip; one of PADDINGS."""

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {self.padding!r}")

    @property
    def after(self) -> int:
        """Number of frames after the centre in a window."""
        return self.num_frame - 1 - self.center

    def indices(self, n: int) -> list[int]:
        """Source frame numbers of the window that frame n is restored from.

        `last` is the last frame of the clip; `before` and `after` are the numbers of frames around the centre. An index i
        outside of the clip becomes

            mode               i < 0          i > last                     needs
            replicate          0              last                         1 frame
            reflection         -i             2 * last - i                 max(before, after) + 1 frames
            reflection_circle  n + after - i  n - before - (i - last)      num_frame frames
            circle             num_frame + i  i - num_frame                num_frame frames

        A clip that is too short for a circle mode gets reflection, and one too short for reflection gets replicate.

        Args:
            n: number of the frame to restore, 0 <= n < num_frames.

        Returns:
            num_frame numbers of frames in the clip, without gaps when sorted; the one at `center` is n.
        """
        padding = self._possible_padding()
        return [self._inside(n, i, padding) for i in range(n - self.center, n + self.after + 1)]

    def indices_in_scene(self, n: int, scene_starts: Callable[[int, int], Iterable[int]]) -> list[int]:
        """Source frame numbers of the window of frame n, in which frames behind a cut are replaced (see within_scene).

        Args:
            n: frame to restore, 0 <= n < num_frames.
            scene_starts: gives the numbers of the frames from a first to a last one that a scene begins with.
        """
        window = self.indices(n)
        return within_scene(window, n, scene_starts(min(window), max(window)))

    def runs(self, place: int) -> list[range]:
        """Source frames at one position of the windows of all frames in order, as a few runs of successive numbers.

        Away from the ends a window holds the frame and its neighbours, so one long run lies between a few short ones.
        """
        first = min(self.center, self.num_frames)  # the windows of frames first..stop - 1 need no padding
        stop = max(first, self.num_frames - self.after)
        inside = range(first + place - self.center, stop + place - self.center)
        beginning, end = ([self._single(n, place) for n in part] for part in (range(first), range(stop, self.num_frames)))
        return list(_joined(iter([*beginning, *([inside] if inside else []), *end])))

    def _single(self, n: int, place: int) -> range:
        number = self.indices(n)[place]
        return range(number, number + 1)

    def _possible_padding(self) -> str:
        padding = self.padding
        if "circle" in padding and self.num_frames < self.num_frame:
            padding = "reflection"
        if padding == "reflection" and self.num_frames <= max(self.center, self.after):
            padding = "replicate"
        return padding

    def _inside(self, n: int, i: int, padding: str) -> int:
        """Number of the frame that replaces index i in the window of frame n, for one of PADDINGS."""
        last = self.num_frames - 1
        if 0 <= i <= last:
            return i
        match padding:
            case "replicate":
                return 0 if i < 0 else last
            case "reflection":
                return -i if i < 0 else 2 * last - i
            case "reflection_circle":
                return n + self.after - i if i < 0 else n - self.center - (i - last)
            case _:
                return i + self.num_frame if i < 0 else i - self.num_frame


def _joined(runs: Iterator[range]) -> Iterator[range]:
    """Joins runs that continue one another, so that fewer runs give the same numbers in the same order."""
    current = next(runs)
    for run in runs:
        if run.start == current.stop:
            current = range(current.start, run.stop)
        else:
            yield current
            current = run
    yield current
