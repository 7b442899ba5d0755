"""Finds scene cuts from the differences of frames, and keeps windows from crossing them. Nothing else detects cuts."""

from collections.abc import Iterable, Sequence

__all__ = ["REACH", "is_cut", "scene_starts", "within_scene"]

MIN_DIFFERENCE = 0.06
MIN_RATIO = 1.8

REACH = 6
"""Number of differences examined before and after a frame: enough for animation on sixes, or 10 pictures/s in 60 fps."""


def is_cut(before: Iterable[float], here: float, after: Iterable[float]) -> bool:
    """Whether a frame begins a scene, judged by its difference to the frame before and the differences around it.

    Fast motion reaches a difference of 0.22, so a threshold alone does not suffice. But in motion successive differences are
    alike, while at a cut one stands out. A difference of 0 is a repeated picture (animation on twos and threes, film in 60
    frames a second) and says nothing about motion, so the nearest difference that is not 0 is used instead.

    A difference is the mean of |luma - luma of the frame before| over all pixels, on a scale where black is 0 and white is 1.
    Luma is the clip's own first plane for YUV and GRAY (the filter: PlaneStatsDiff, scaled to full range) and that of BT.709,
    rounded to 8 bits, for RGB (the filter and `vsedvr.data`).

    Args:
        before: differences of the frames before, each to its own predecessor; the nearest first, at most REACH of them.
            There may be fewer at the start of a clip.
        here: difference of the frame to the one before it.
        after: differences of the frames after, the nearest first, at most REACH; fewer at the end of a clip.
    """
    return here > MIN_DIFFERENCE and here > MIN_RATIO * max(_first_change(before), _first_change(after))


def scene_starts(differences: Sequence[float]) -> list[int]:
    """Numbers of the frames that begin a scene, frame 0 included.

    Args:
        differences: difference of each frame of a clip to the one before it (see `is_cut`); the first one is not used.
    """

    def begins_scene(n: int) -> bool:
        before, after = differences[max(n - REACH, 1) : n], differences[n + 1 : n + 1 + REACH]
        return is_cut(reversed(before), differences[n], after)

    return [0, *filter(begins_scene, range(1, len(differences)))]


def within_scene(indices: Sequence[int], n: int, scene_starts: Iterable[int]) -> list[int]:
    """Replaces frames of other scenes in a window by the nearest frame of the scene that frame n belongs to.

    Args:
        indices: source frame numbers of the window.
        n: the frame to restore.
        scene_starts: numbers of the frames that begin a scene; only those within the window's range are needed.
    """
    starts = list(scene_starts)
    first = max((start for start in starts if start <= n), default=min(indices))
    last = min((start for start in starts if start > n), default=max(indices) + 1) - 1
    return [min(max(i, first), last) for i in indices]


def _first_change(differences: Iterable[float]) -> float:
    return next((difference for difference in differences if difference != 0), 0.0)
