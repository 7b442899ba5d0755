"""Scene cuts: where they are, and windows that do not cross them."""

from collections.abc import Iterable, Sequence

__all__ = ["is_cut", "within_scene"]

MIN_DIFFERENCE = 0.06
MIN_RATIO = 1.8


def is_cut(before: float, here: float, after: float) -> bool:
    """Whether a scene begins with a frame, from mean absolute luma differences between successive frames.

    Fast motion reaches a difference of 0.22, so no threshold alone does; but in motion the differences are alike, and at
    a cut one stands out.

    Args:
        before: difference of the two frames before, on a scale of 1; 0 at the start of the clip.
        here: difference of the frame and the one before it.
        after: difference of the next frame and this one; 0 at the end of the clip.
    """
    return here > MIN_DIFFERENCE and here > MIN_RATIO * max(before, after)


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
