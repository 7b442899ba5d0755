"""Values of a picture outside of [0, 1], which the network does not see."""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["add_beyond"]


def add_beyond(restored: Tensor, source: Tensor) -> Tensor:
    """Adds the part of the source's values outside of [0, 1] to a restored picture.

    The network sees values clamped to [0, 1]. Legal YUV has colours outside: brighter than white, or more saturated than RGB
    allows. Adding this part, enlarged bicubically, keeps them.

    Args:
        restored: picture that the network made of the clamped source, (c, scale * h, scale * w).
        source: pixels (c, h, w), float32. Values that are not finite count as within [0, 1].

    Returns:
        The sum, (c, scale * h, scale * w), float32.
    """
    beyond = (source - source.clamp(0, 1)).nan_to_num_(0, 0, 0)
    if restored.shape == source.shape:
        return beyond.add_(restored)
    enlarged = F.interpolate(beyond[None], tuple(restored.shape[1:]), mode="bicubic")[0]
    return enlarged.add_(restored)
