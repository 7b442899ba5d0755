"""MATLAB's bicubic reduction, which makes the benchmarks' low quality, and the enlargement that papers compare with."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["enlarge", "imresize"]


def imresize(picture: Tensor, scale: int) -> Tensor:
    """Reduces a picture like MATLAB's imresize(picture, 1 / scale, 'bicubic'): antialiased, a = -0.5, mirrored at borders.

    torch's antialiased bicubic has the same filter but renormalises it at borders. Therefore the border is extended first.

    Args:
        picture: (..., h, w), float32 or float64; h and w are multiples of scale.
        scale: factor by which the result is smaller.

    Returns:
        (..., h / scale, w / scale), not clamped: the filter overshoots at edges.

    Raises:
        ValueError: if h or w is not a multiple of scale.
    """
    height, width = picture.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"a picture of {width}x{height} does not reduce by {scale}; crop it to multiples of {scale} first")
    border = 2  # pixels of the result; the filter extends 2 * scale from its centre
    rows, columns = (_mirrored(size, border * scale, picture.device) for size in (height, width))
    wide = picture.reshape(1, -1, height, width)[:, :, rows[:, None], columns]
    small = F.interpolate(wide, scale_factor=1 / scale, mode="bicubic", antialias=True, align_corners=False)
    return small[:, :, border:-border, border:-border].reshape(*picture.shape[:-2], height // scale, width // scale)


def enlarge(picture: Tensor, scale: int) -> Tensor:
    """Enlarges a picture like MATLAB's imresize(picture, scale, 'bicubic'), which is "bicubic" in the papers' tables.

    Args:
        picture: (..., h, w), float32 or float64.
        scale: factor by which the result is larger.

    Returns:
        (..., scale * h, scale * w), not clamped: the filter overshoots at edges.
    """
    height, width = picture.shape[-2:]
    border = 2  # pixels; the filter extends as far
    rows, columns = (_mirrored(size, border, picture.device) for size in (height, width))
    wide = picture.reshape(1, -1, height, width)[:, :, rows[:, None], columns]
    # torch's bicubic has a = -0.5, as MATLAB's, only with antialiasing, which changes nothing when enlarging
    large = F.interpolate(wide, scale_factor=float(scale), mode="bicubic", antialias=True, align_corners=False)
    inside = slice(border * scale, -border * scale)
    return large[:, :, inside, inside].reshape(*picture.shape[:-2], scale * height, scale * width)


def _mirrored(size: int, border: int, device: torch.device) -> Tensor:
    """Returns indices 0..size-1 with a mirrored border before and after: 1 0 | 0 1 2 | 2 1."""
    i = torch.arange(-border, size + border, device=device) % (2 * size)
    return torch.where(i < size, i, 2 * size - 1 - i)
