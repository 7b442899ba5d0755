"""Bicubic reduction as the benchmarks' low-resolution frames were made, and the enlargement that papers compare with."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["enlarge", "imresize"]


def imresize(picture: Tensor, scale: int) -> Tensor:
    """MATLAB's imresize(picture, 1 / scale, 'bicubic'): antialiased, a = -0.5, the border mirrored with its edge pixel.

    torch's antialiased bicubic is the same filter but renormalises it at borders; so the border is laid out for it.

    Args:
        picture: (..., h, w), h and w multiples of scale; float32 or float64.
        scale: how many times smaller the result is.

    Returns:
        (..., h / scale, w / scale), not clamped: the filter overshoots at edges.

    Raises:
        ValueError: if h or w is not a multiple of scale.
    """
    height, width = picture.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"a picture of {width}x{height} does not reduce by {scale}; crop it to multiples of {scale} first")
    border = 2  # pixels of the result; the filter reaches 2 * scale from its centre
    rows, columns = (_mirrored(size, border * scale, picture.device) for size in (height, width))
    wide = picture.reshape(1, -1, height, width)[:, :, rows[:, None], columns]
    small = F.interpolate(wide, scale_factor=1 / scale, mode="bicubic", antialias=True, align_corners=False)
    return small[:, :, border:-border, border:-border].reshape(*picture.shape[:-2], height // scale, width // scale)


def enlarge(picture: Tensor, scale: int) -> Tensor:
    """MATLAB's imresize(picture, scale, 'bicubic'): what stands as "bicubic" in the papers' tables.

    Args:
        picture: (..., h, w), float32 or float64.
        scale: how many times larger the result is.

    Returns:
        (..., scale * h, scale * w), not clamped: the filter overshoots at edges.
    """
    height, width = picture.shape[-2:]
    border = 2  # pixels; the filter reaches as far
    rows, columns = (_mirrored(size, border, picture.device) for size in (height, width))
    wide = picture.reshape(1, -1, height, width)[:, :, rows[:, None], columns]
    # torch's cubic has a = -0.5, as MATLAB's, only when antialiasing is asked for, which alters no enlargement
    large = F.interpolate(wide, scale_factor=float(scale), mode="bicubic", antialias=True, align_corners=False)
    inside = slice(border * scale, -border * scale)
    return large[:, :, inside, inside].reshape(*picture.shape[:-2], scale * height, scale * width)


def _mirrored(size: int, border: int, device: torch.device) -> Tensor:
    """Indices 0..size-1 with a border before and after that runs back and forth: 1 0 | 0 1 2 | 2 1."""
    i = torch.arange(-border, size + border, device=device) % (2 * size)
    return torch.where(i < size, i, 2 * size - 1 - i)
