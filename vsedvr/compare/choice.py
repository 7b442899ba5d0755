"""Chooses which frames are shown, by their numbers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

__all__ = ["closest", "most_different", "spread"]


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """Returns `count` of the numbers, evenly spread: the middles of `count` equal parts; all of them if there are no more."""
    count = min(count, len(numbers))
    return [numbers[(2 * k + 1) * len(numbers) // (2 * count)] for k in range(count)]


def most_different(differences: Mapping[int, float], count: int, taken: Sequence[int]) -> list[int]:
    """Returns the frames that differ most and are not close to each other: neighbours differ alike and show the same.

    Args:
        differences: how much each frame differs, by its number.
        count: number of frames to choose.
        taken: frames that are shown anyway.

    Returns:
        Up to `count` frame numbers; fewer if fewer frames differ. They are as far from each other and from `taken` as `count`
        frames can be.
    """
    order = sorted((n for n, difference in differences.items() if difference > 0), key=lambda n: (-differences[n], n))
    apart = (max(differences, default=0) - min(differences, default=0) + 1) // (2 * (count + len(taken)) or 1)
    while True:
        chosen: list[int] = []
        for n in order:
            if len(chosen) < count and all(abs(n - other) >= max(apart, 1) for other in [*chosen, *taken]):
                chosen.append(n)
        if len(chosen) == count or apart <= 1:
            return chosen
        apart //= 2


def closest(numbers: Sequence[int]) -> int:
    """Returns the number whose removal loses least: the one with the nearest neighbour, the higher of the two."""
    ordered = sorted(numbers)
    gaps = [(after - before, after) for before, after in pairwise(ordered)]
    return min(gaps)[1] if gaps else ordered[0]
