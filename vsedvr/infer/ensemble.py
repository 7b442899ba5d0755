"""Self-ensemble: a picture is restored in flipped and transposed versions, and the mean of the results is taken.

Versions as in EDVR's official code (`flipx4_forward`); the transposed ones as in Timofte et al., "Seven ways to improve
example-based single image super resolution" (CVPR 2016).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from vsedvr.infer.tile import Tiling

__all__ = ["ENSEMBLES", "Transform", "check_ensemble", "mean_of_versions", "transforms"]

ENSEMBLES = (1, 4, 8)
"""Numbers of versions that there are: the picture alone, its flips, and those transposed as well."""


class Transform(NamedTuple):
    """How one version of a picture is made from it: by flips, and then by transposition."""

    flipped: tuple[int, ...] = ()
    """Dimensions that are flipped: -1 is left and right, -2 is top and bottom."""
    transposed: bool = False
    """Whether rows then become columns."""

    def apply(self, picture: Tensor) -> Tensor:
        """Makes the version of a picture, (c, h, w) -> (c, h, w), or (c, w, h) where it is transposed."""
        if self.flipped:
            picture = picture.flip(self.flipped)
        return picture.transpose(-1, -2) if self.transposed else picture

    def undo(self, picture: Tensor) -> Tensor:
        """Turns a restored version back, so that it lies as the picture it was made from."""
        if self.transposed:
            picture = picture.transpose(-1, -2)
        return picture.flip(self.flipped) if self.flipped else picture

    def tiling(self, tiling: Tiling) -> Tiling:
        """Returns the tiling of the version, for a tiling of the picture."""
        return tiling.transposed() if self.transposed else tiling


FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))


def check_ensemble(ensemble: int) -> None:
    """
    Raises:
        ValueError: if there is no ensemble of so many versions.
    """
    if ensemble not in ENSEMBLES:
        raise ValueError(f"ensemble must be 1 (none), 4 (flips) or 8 (flips, and transposed), got {ensemble}")


def transforms(ensemble: int) -> Sequence[Transform]:
    """Returns the transforms of an ensemble. The first one leaves the picture as it is.

    Args:
        ensemble: number of versions, one of ENSEMBLES.

    Raises:
        ValueError: if there is no such ensemble.
    """
    check_ensemble(ensemble)
    return [Transform(flipped, transposed) for transposed in (False, True) for flipped in FLIPS][:ensemble]


def mean_of_versions(versions: Sequence[Transform], restore: Callable[[Transform], Tensor]) -> Tensor:
    """Restores all versions of a picture one after the other, and returns their mean.

    Args:
        versions: the transforms of the ensemble.
        restore: restores the version that a transform makes; returns a float32 picture that lies as the version does.
    """
    first, *others = versions
    total = first.undo(restore(first))
    for transform in others:
        total = total + transform.undo(restore(transform))
    return total / len(versions) if others else total
