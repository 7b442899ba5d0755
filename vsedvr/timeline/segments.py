"""Cuts a clip into segments, ranges of frames that are restored, encoded and stored one by one."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

__all__ = ["segments"]


def segments(
    frames: range, length: int, candidates: Sequence[int] = (), is_start: Callable[[int], bool] = lambda n: True
) -> list[range]:
    """Cuts a range of frames into segments of about equal length, at scene cuts if there are any nearby.

    A segment ends at the scene start that is nearest to a length of exactly `length` frames, if one lies within a quarter of
    the length; otherwise it has exactly that length. So segments have 3/4 to 5/4 of the length, the last one 1/4 to 3/2.

    Args:
        frames: the range to cut, with step 1; an empty one has no segments.
        length: intended number of frames in a segment, at least 1.
        candidates: numbers of frames that may start a scene, in rising order.
        is_start: whether a candidate does start a scene. It is asked only for candidates near a boundary, nearest first.

    Returns:
        Ranges that cover `frames` in order, without gaps.

    Raises:
        ValueError: if length is below 1.
    """
    if length < 1:
        raise ValueError(f"a segment needs at least 1 frame, got {length}")
    parts, start = [], frames.start
    while frames.stop - start > length + length // 2:
        target, reach = start + length, length // 4
        near = candidates[bisect_left(candidates, target - reach) : bisect_left(candidates, target + reach + 1)]
        stop = next(filter(is_start, sorted(near, key=lambda n: abs(n - target))), target)
        parts.append(range(start, stop))
        start = stop
    if start < frames.stop:
        parts.append(range(start, frames.stop))
    return parts
