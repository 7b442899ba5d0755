"""The losses to train with: the paper's, and one for luma."""

from torch import Tensor

__all__ = ["LOSSES", "LUMA", "charbonnier", "luma_charbonnier"]

LUMA = (0.299, 0.587, 0.114)
"""Shares of R, G and B (ITU-R BT.601)."""
COLOUR_WEIGHT = 0.1


def charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """sqrt((restored - gt)^2 + eps^2), a smooth form of the absolute difference (paper, section 4.1).

    Args:
        restored, gt: of one shape, on a scale of 1.
        eps: 1e-3 in the paper.
        reduction: mean or sum over all samples.
    """
    loss = ((restored.float() - gt).square() + eps**2).sqrt()
    return loss.mean() if reduction == "mean" else loss.sum()


def luma_charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """Charbonnier's loss of the luma, and COLOUR_WEIGHT of it for what R, G and B have beside their luma.

    A small network cannot remove all that is wrong with the colours: noise of their own, or what 4:2:0 lost. Where every
    sample of R, G and B counts alike that outweighs the luma, and the network learns slowly what it can.

    Args:
        restored, gt: (..., 3, h, w) in R, G, B, on a scale of 1.
        eps, reduction: as for charbonnier.
    """
    luma, colour = _split(restored.float())
    luma_gt, colour_gt = _split(gt)
    return charbonnier(luma, luma_gt, eps, reduction) + COLOUR_WEIGHT * charbonnier(colour, colour_gt, eps, reduction)


def _split(picture: Tensor) -> tuple[Tensor, Tensor]:
    luma = (picture * picture.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
    return luma, picture - luma


LOSSES = {"charbonnier": charbonnier, "luma": luma_charbonnier}
"""By their names in presets."""
