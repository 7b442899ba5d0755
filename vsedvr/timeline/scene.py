"""Scene cuts: where they are, and windows that do not cross them. The only detection in vsedvr."""

from collections.abc import Iterable, Sequence

__all__ = ["REACH", "is_cut", "scene_starts", "within_scene"]

MIN_DIFFERENCE = 0.06
MIN_RATIO = 1.8

REACH = 6
"""How many differences before and after a frame are looked at: enough for animation on sixes and 10 pictures a second in 60."""


def is_cut(before: Iterable[float], here: float, after: Iterable[float]) -> bool:
    """Whether a scene begins with a frame.

    Fast motion reaches a difference of 0.22, so no threshold alone does; but in motion successive differences are alike, and
    at a cut one stands out. A difference of 0 is a repeated picture (animation on twos and threes, film in 60 frames a
    second) and tells nothing of the motion: the nearest picture change counts in its place.

    A difference is the mean of |luma - luma of the frame before| over all pixels, on a scale where black is 0 and white is 1.
    Luma is the clip's own first plane for YUV and GRAY (the filter: PlaneStatsDiff, scaled to full range) and that of BT.709,
    rounded to 8 bits, for RGB (the filter and `vsedvr.data`).

    Args:
        before: differences of the frames before, each to its own predecessor; the nearest first, at most REACH of them.
            Fewer at the start of a clip.
        here: difference of the frame to the one before it.
        after: differences of the frames after, likewise; fewer at the end of a clip.
    """
    return here > MIN_DIFFERENCE and here > MIN_RATIO * max(_first_change(before), _first_change(after))


def scene_starts(differences: Sequence[float]) -> list[int]:
    """Numbers of the frames that a scene begins with, the first frame included.

    Args:
        differences: of each frame of a clip to the one before it (see `is_cut`); of the first frame any number.
    """

    def begins_scene(n: int) -> bool:
        before, after = differences[max(n - REACH, 1) : n], differences[n + 1 : n + 1 + REACH]
        return is_cut(reversed(before), differences[n], after)

    return [0, *filter(begins_scene, range(1, len(differences)))]


def within_scene(indices: Sequence[int], n: int, scene_starts: Iterable[int]) -> list[int]:
    """A window in which frames behind a cut are replaced by the nearest frame of n's own scene.

    Args:
        indices: source frame numbers of the window.
        n: the frame to restore.
        scene_starts: numbers of the frames that a scene begins with; those within the window's range suffice.
    """
    starts = list(scene_starts)
    first = max((start for start in starts if start <= n), default=min(indices))
    last = min((start for start in starts if start > n), default=max(indices) + 1) - 1
    return [min(max(i, first), last) for i in indices]


def _first_change(differences: Iterable[float]) -> float:
    return next((difference for difference in differences if difference != 0), 0.0)
