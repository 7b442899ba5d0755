"""The losses to train with: the paper's, and one for luma."""

from torch import Tensor

__all__ = ["LOSSES", "LUMA", "charbonnier", "luma_charbonnier"]

LUMA = (0.299, 0.587, 0.114)
"""Shares of R, G and B (ITU-R BT.601)."""
COLOUR_WEIGHT = 0.1
"""Of the colours in luma_charbonnier; the luma's is 1."""


def charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """sqrt((restored - gt)^2 + eps^2), a smooth form of the absolute difference (paper, section 4.1).

    Args:
        restored, gt: of one shape, on a scale of 1.
        eps: 1e-3 in the paper.
        reduction: mean or sum over all samples.
    """
    return _reduce(_smooth_abs(restored.float() - gt, eps), reduction)


def luma_charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """Charbonnier's loss of the luma, and COLOUR_WEIGHT of its mean over what R, G and B have beside their luma.

    A small network cannot remove all that is wrong with the colours: noise of their own, or what 4:2:0 lost. Where every
    sample of R, G and B counts alike that outweighs the luma, and the network learns slowly what it can.

    Args:
        restored, gt: (..., 3, h, w) in R, G, B, on a scale of 1.
        eps: as for charbonnier.
        reduction: mean or sum over all pixels.
    """
    difference = restored.float() - gt
    luma = (difference * difference.new_tensor(LUMA).view(3, 1, 1)).sum(-3)
    colours = _smooth_abs(difference - luma.unsqueeze(-3), eps).mean(-3)
    return _reduce(_smooth_abs(luma, eps) + COLOUR_WEIGHT * colours, reduction)


def _smooth_abs(difference: Tensor, eps: float) -> Tensor:
    return (difference.square() + eps**2).sqrt()


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    return loss.mean() if reduction == "mean" else loss.sum()


LOSSES = {"charbonnier": charbonnier, "luma": luma_charbonnier}
"""By their names in presets."""
