"""Which frames are looked at: numbers only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

__all__ = ["closest", "most_different", "spread"]


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """The middles of `count` equal parts of a row of numbers; all of them where there are no more."""
    count = min(count, len(numbers))
    return [numbers[(2 * k + 1) * len(numbers) // (2 * count)] for k in range(count)]


def most_different(differences: Mapping[int, float], count: int, taken: Sequence[int]) -> list[int]:
    """The frames that differ most, apart from one another: neighbours differ alike and show the same.

    Args:
        differences: how much each frame differs, by its number.
        count: how many to choose.
        taken: frames that are shown anyway.

    Returns:
        At most `count` numbers, fewer where no other frame differs. They are as far from one another and from `taken` as
        leaves enough of them.
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
    """The number that is missed least where one must go: the one that has the nearest neighbour, the higher of the two."""
    ordered = sorted(numbers)
    gaps = [(after - before, after) for before, after in pairwise(ordered)]
    return min(gaps)[1] if gaps else ordered[0]
