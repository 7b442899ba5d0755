"""Checks on the source frames that callers give to the engine."""

from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["Load", "checked", "what_is_not_finite"]

Load = Callable[[int], Tensor]
"""Function that returns the source frame with a given number, (num_in_ch, h, w) in [0, 1]."""


def checked(load: Load, shape: tuple[int, int, int]) -> Load:
    """Wraps a function that loads frames, so that a frame without the expected shape raises a ValueError."""

    def load_checked(i: int) -> Tensor:
        picture = load(i)
        if picture.shape != shape:
            raise ValueError(
                f"frame {i} has the shape {tuple(picture.shape)}, but this engine restores frames of the shape {shape} "
                "(channels, height, width)"
            )
        return picture

    return load_checked


def what_is_not_finite(indices: Sequence[int], load: Load) -> str:
    """Explains why a frame restored from a window has NaN or infinity in it: a broken source frame, or broken weights."""
    broken = next((i for i in indices if not load(i).isfinite().all()), None)
    return "the weights of the model are broken" if broken is None else f"source frame {broken} has pixels that are not"
