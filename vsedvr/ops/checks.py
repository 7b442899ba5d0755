"""Checks tensors before native code reads and writes them by address, where a wrong tensor would damage memory."""

import torch
from torch import Tensor

__all__ = ["check", "check_dcn"]


def check_dcn(
    x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor | None = None, offset_bias: Tensor | None = None
) -> int:
    """Checks that the shapes, types and devices of the arguments of `vsedvr.ops.dcn` match.

    Returns:
        Number of deformable groups.

    Raises:
        ValueError: if they do not match; the message has the expected and the given value.
    """
    named = {"x": x, "conv_offset_output": conv_offset_output, "weight": weight}
    for name, tensor in named.items():
        if tensor.ndim != 4:
            raise ValueError(f"{name} must have 4 dimensions, got {tuple(tensor.shape)}")
    devices = {tensor.device for tensor in (*named.values(), bias, offset_bias) if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f"all tensors must be on one device, got {', '.join(sorted(map(str, devices)))}")
    b, c, h, w = x.shape
    if h * w >= 2**31:  # the kernels number the pixels of a picture with 32 bits
        raise ValueError(f"height * width of x must be below 2**31, got {h} * {w}; restore in tiles")
    out_channels, kernel = weight.shape[0], weight.shape[3]
    taps = kernel * kernel
    groups = conv_offset_output.shape[1] // (3 * taps) if taps else 0
    if not groups or c % groups or kernel % 2 == 0:
        raise ValueError(
            f"conv_offset_output has {conv_offset_output.shape[1]} channels: not 3 * {taps} taps * a number of groups that "
            f"divides {c}"
        )
    _check_shape("conv_offset_output", conv_offset_output, (b, 3 * groups * taps, h, w))
    _check_shape("weight", weight, (out_channels, c, kernel, kernel))
    if bias is not None:
        _check_shape("bias", bias, (out_channels,))
    if offset_bias is not None:
        _check_shape("offset_bias", offset_bias, (3 * groups * taps,))
    return groups


def check(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    layout: torch.memory_format = torch.contiguous_format,
) -> None:
    """Checks that a tensor is what native code expects, which gets only the tensor's address.

    Args:
        name: name of the tensor in messages.
        tensor: tensor to check.
        shape: expected shape.
        dtype: expected type.
        device: expected device.
        layout: expected memory layout.

    Raises:
        ValueError: if anything differs; the message has the expected and the given value.
    """
    _check_shape(name, tensor, shape)
    if tensor.dtype != dtype:
        raise ValueError(f"{name} must be of type {dtype}, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name} must be on the device {device}, got {tensor.device}")
    if not tensor.is_contiguous(memory_format=layout):
        raise ValueError(f"{name} must lie in memory as {layout}, got the strides {tensor.stride()} of shape {shape}")


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(tensor.shape)}")
