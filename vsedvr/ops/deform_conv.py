"""Deformable convolution in its general form, with or without a mask (DCNv2), composed of PyTorch's operators.

Source: Zhu et al., "Deformable ConvNets v2", CVPR 2019, eq. 1, in torchvision's channel order. For group g and tap
k = kx + kernel_width * ky the sample is taken at

    (y * stride - padding + ky * dilation + offset[2 * (g * K + k)],
     x * stride - padding + kx * dilation + offset[2 * (g * K + k) + 1])

bilinearly, zero outside the picture, and multiplied by mask[g * K + k]. K is the number of taps of the kernel.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["deform_conv2d"]

IntOrPair = int | tuple[int, int]
"""One number for both directions, or (vertical, horizontal)."""


class _Geometry(NamedTuple):
    """Stride, padding and dilation of a convolution in pixels, each as (vertical, horizontal)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Computes a deformable convolution. It has the signature of torchvision.ops.deform_conv2d and all gradients.

    Args:
        input: (b, c, h, w).
        offset: (b, 2 * deformable_groups * K, out_h, out_w), (dy, dx) pairs in pixels.
        weight: (out_channels, c // groups, kernel_height, kernel_width).
        bias: (out_channels,) or None.
        stride: stride of the convolution in pixels, one number or (vertical, horizontal).
        padding: zero padding in pixels, one number or (vertical, horizontal).
        dilation: distance of the kernel's taps in pixels, one number or (vertical, horizontal).
        mask: (b, deformable_groups * K, out_h, out_w), or None for deformable convolution without mask.

    Returns:
        (b, out_channels, out_h, out_w) in the type of input. A NaN in an offset gives NaN at that output position.

    Raises:
        ValueError: if the shapes do not match; the message has the expected and the given shape.
    """
    geometry = _Geometry(*(value if isinstance(value, tuple) else (value, value) for value in (stride, padding, dilation)))
    _check_shapes(input, offset, weight, bias, mask, geometry)
    form = _with_torchvision if input.is_cuda else _with_grid_sample
    dtype = torch.promote_types(input.dtype, torch.float32)  # fp16 positions would be half a pixel off at 1024
    with torch.autocast(input.device.type, enabled=False):
        out = form(
            input.to(dtype),
            offset.to(dtype),
            weight.to(dtype),
            None if bias is None else bias.to(dtype),
            None if mask is None else mask.to(dtype),
            geometry,
        )
    return out.to(input.dtype)


def _with_torchvision(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, geometry: _Geometry
) -> Tensor:
    from torchvision.ops import deform_conv2d as torchvision_form

    return torchvision_form(input, offset, weight, bias, *geometry, mask)


def _with_grid_sample(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, geometry: _Geometry
) -> Tensor:
    """Samples all taps in one grid_sample, then multiplies once. It uses all CPU cores; torchvision's CPU operator uses one."""
    b, c, h, w = input.shape
    out_channels, group_channels, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[-2:]
    taps, groups = kernel_h * kernel_w, c // group_channels
    deformable_groups = offset.shape[1] // (2 * taps)

    offset = offset.reshape(b * deformable_groups, kernel_h, kernel_w, 2, out_h, out_w)
    y = offset[:, :, :, 0] + _tap_positions(0, out_h, kernel_h, geometry, offset)[:, None, :, None]
    x = offset[:, :, :, 1] + _tap_positions(1, out_w, kernel_w, geometry, offset)[None, :, None, :]
    # In grid_sample, -1 and 1 are the outer edges of the picture; pixel centres lie half a pixel inside
    grid = torch.stack([(x + 0.5) * (2 / w) - 1, (y + 0.5) * (2 / h) - 1], -1)
    sampled = F.grid_sample(
        input.reshape(b * deformable_groups, c // deformable_groups, h, w),
        grid.view(b * deformable_groups, taps * out_h, out_w, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    columns = sampled.view(b, deformable_groups, c // deformable_groups, taps, out_h * out_w)
    if mask is not None:
        columns = columns * mask.reshape(b, deformable_groups, 1, taps, out_h * out_w)
    columns = columns.reshape(b, groups, group_channels * taps, out_h * out_w)
    product = weight.reshape(groups, out_channels // groups, group_channels * taps) @ columns
    out = product.view(b, out_channels, out_h, out_w)
    return out if bias is None else out + bias.view(-1, 1, 1)


def _tap_positions(axis: int, out_size: int, kernel_size: int, geometry: _Geometry, like: Tensor) -> Tensor:
    """Returns the positions in pixels of all taps along one axis, without offsets: (kernel_size, out_size)."""
    stride, padding, dilation = (pair[axis] for pair in geometry)
    out, tap = (torch.arange(n, dtype=like.dtype, device=like.device) for n in (out_size, kernel_size))
    return tap[:, None] * dilation + out * stride - padding


def _check_shapes(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, geometry: _Geometry
) -> None:
    if input.ndim != 4 or weight.ndim != 4:
        raise ValueError(f"input and weight must have 4 dimensions, got {tuple(input.shape)} and {tuple(weight.shape)}")
    b, c, h, w = input.shape
    out_channels, group_channels, *kernel = weight.shape
    if c % group_channels or out_channels % (c // group_channels):
        raise ValueError(f"{c} input channels do not divide into groups of weight {tuple(weight.shape)}")
    out_size = [
        (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for size, taps, stride, padding, dilation in zip((h, w), kernel, *geometry, strict=True)
    ]
    taps = kernel[0] * kernel[1]
    deformable_groups = offset.shape[1] // (2 * taps)
    if not deformable_groups or c % deformable_groups:
        raise ValueError(f"offset has {offset.shape[1]} channels: not 2 * {taps} taps * a number of groups that divides {c}")
    expected = {
        "offset": (offset, (b, 2 * taps * deformable_groups, *out_size)),
        "mask": (mask, (b, taps * deformable_groups, *out_size)),
        "bias": (bias, (out_channels,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {tuple(tensor.shape)}")
