"""The source frames that whoever calls the engine hands in."""

from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["Load", "checked", "what_is_not_finite"]

Load = Callable[[int], Tensor]
"""Gives the source frame of a number, (num_in_ch, h, w) in [0, 1]."""


def checked(load: Load, shape: tuple[int, int, int]) -> Load:
    """The same frames, of which one with another shape is a ValueError with both shapes."""

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
    """Why the frame that was restored from a window has NaN or infinity in it."""
    broken = next((i for i in indices if not load(i).isfinite().all()), None)
    return "the weights of the model are broken" if broken is None else f"source frame {broken} has pixels that are not"
