"""Losses: the one of the paper, and two that weigh luma more than colours."""

from torch import Tensor

__all__ = ["COLOUR_WEIGHT", "LOSSES", "LUMA", "charbonnier", "luma_charbonnier", "luma_psnr"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the luma (ITU-R BT.601)."""
COLOUR_WEIGHT = 0.1
"""Weight of the colours' error in the luma losses, unless another is given; the luma's own error has weight 1."""


def charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """Returns sqrt((restored - gt)^2 + eps^2), a smooth form of the absolute difference (paper, section 4.1).

    Args:
        restored: restored pictures in [0, 1], of any shape.
        gt: ground truth of the same shape.
        eps: 1e-3 in the paper and in its authors' code. BasicSR adds 1e-12 under the root, which is eps 1e-6.
        reduction: "mean" or "sum" over all samples.
    """
    return _reduce(_smooth_abs(restored.float() - gt, eps), reduction)


def luma_charbonnier(
    restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean", colour_weight: float = COLOUR_WEIGHT
) -> Tensor:
    """Returns the Charbonnier loss of the luma, plus colour_weight times its mean over the colours (R, G and B minus luma).

    A small network cannot remove all errors of the colours, such as their own noise or what 4:2:0 lost. If every sample of R, G
    and B counted equally, these errors would outweigh those of the luma, and the network would learn slowly what it can learn.

    Args:
        restored: restored pictures (..., 3, h, w) in R, G, B, in [0, 1].
        gt: ground truth of the same shape.
        eps: as for charbonnier.
        reduction: "mean" or "sum" over all pixels.
        colour_weight: weight of the colours' error.
    """
    luma, colours = _luma_and_colours(restored.float() - gt)
    return _reduce(_smooth_abs(luma, eps) + colour_weight * _smooth_abs(colours, eps).mean(-3), reduction)


def luma_psnr(
    restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean", colour_weight: float = COLOUR_WEIGHT
) -> Tensor:
    """Returns the negative PSNR of each picture's luma in dB (for R, G and B: Chen et al., HINet, CVPRW 2021).

    A tenth less error counts the same in a picture that is nearly right and in one that is far off; other losses learn mostly
    from the latter. colour_weight times the colours' mean square error is added to the luma's, as in luma_charbonnier.

    Args:
        restored: restored pictures (..., 3, h, w) in R, G, B, in [0, 1].
        gt: ground truth of the same shape.
        eps: root mean square error below which a smaller error hardly changes the loss: 1e-3 is 60 dB, 1e-2 is 40 dB.
        reduction: "mean" or "sum" over all pictures.
        colour_weight: weight of the colours' error.
    """
    luma, colours = _luma_and_colours(restored.float() - gt)
    error = (luma.square() + colour_weight * colours.square().mean(-3)).mean((-2, -1))
    return _reduce(10 * (error + eps**2).log10(), reduction)


def _luma_and_colours(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Splits a difference (..., 3, h, w) into the luma's (..., h, w) and the colours' (..., 3, h, w)."""
    luma = (difference * difference.new_tensor(LUMA).view(3, 1, 1)).sum(-3)
    return luma, difference - luma.unsqueeze(-3)


def _smooth_abs(difference: Tensor, eps: float) -> Tensor:
    return (difference.square() + eps**2).sqrt()


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    return loss.mean() if reduction == "mean" else loss.sum()


LOSSES = {"charbonnier": charbonnier, "luma": luma_charbonnier, "luma_psnr": luma_psnr}
"""Loss functions by their names in presets."""
