"""The loss that EDVR is trained with."""

from torch import Tensor

__all__ = ["charbonnier"]


def charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3, reduction: str = "mean") -> Tensor:
    """sqrt((restored - gt)^2 + eps^2), a smooth form of the absolute difference (paper, section 4.1).

    Args:
        restored, gt: of one shape, on a scale of 1.
        eps: 1e-3 in the paper.
        reduction: mean or sum over all samples.
    """
    loss = ((restored.float() - gt).square() + eps**2).sqrt()
    return loss.mean() if reduction == "mean" else loss.sum()
