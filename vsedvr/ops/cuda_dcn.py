"""`vsedvr.ops.dcn` and its gradients by the kernels for GPUs (kernels/deform_conv.cu). Shapes are the caller's to check."""

import torch
from torch import Tensor

from vsedvr.ops import cuda

__all__ = ["DTYPES", "backward", "forward"]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

TENSOR_CORES = {(32, 4), (64, 8), (128, 8)}
"""Channels, in and out, and deformable groups that the kernel for tensor cores serves."""

ANY_SHARED_BYTES = 4 * (64 + 64) * (32 + 4)
"""Shared memory of a block of the kernel for everything else."""

COLUMN_BYTES = 64 << 20
"""Of the samples that are kept at a time in the backward pass, and again of their gradients."""


def forward(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """`dcn` of x in one of DTYPES; weight and bias are taken in the same type.

    Nothing is copied that is channels_last, of the right type and aligned already: the weights of a network in channels_last
    lie as the kernels read them.
    """
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    groups = conv_offset_output.shape[1] // (3 * kernel * kernel)
    both_half = x.dtype == conv_offset_output.dtype == torch.float16
    offset_dtype = torch.float16 if both_half else torch.float32
    tensors = (
        _ready(x, x.dtype),
        _ready(conv_offset_output, offset_dtype),
        _ready(weight, x.dtype),
        _ready(bias, x.dtype),
        torch.empty((b, out_channels, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last),
    )
    tiles = b * -(-h // 8) * -(-w // 8)
    if tiles and _has_tensor_cores(x) and out_channels == c and kernel == 3 and (c, groups) in TENSOR_CORES:
        name = f"mma_{_name(x.dtype)}_{_name(offset_dtype)}_{c}_{groups}"
        cuda.launch(name, (tiles,), mma_shared_bytes(c, groups), *tensors, h, w, slope)
    elif tiles:
        name = f"any_{_name(x.dtype)}_{_name(offset_dtype)}"
        blocks = tiles, -(-out_channels // 64)
        cuda.launch(name, blocks, ANY_SHARED_BYTES, *tensors, h, w, c, out_channels, groups, kernel, slope)
    return tensors[-1]


def mma_shared_bytes(c: int, groups: int) -> int:
    """Shared memory of a block of the kernel for tensor cores: two buffers of samples and two of weights, 16-bit."""
    return 2 * 2 * (64 * (4 * c // groups + 8) + c * (32 + 8))


def backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, conv_offset_output, weight and bias, in their types; x and conv_offset_output's are channels_last.

    Products are in the type of x with sums in float32. The order of additions to the gradient of x differs from run to run.

    Args:
        grad: gradient before the LeakyReLU, (b, out_channels, h, w).
    """
    _, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    taps = kernel * kernel
    groups = conv_offset_output.shape[1] // (3 * taps)
    grad = _ready(grad, x.dtype).permute(0, 2, 3, 1).reshape(-1, out_channels)
    matrix = _ready(weight, x.dtype).permute(0, 2, 3, 1).reshape(out_channels, taps * c)
    picture, offsets = _ready(x, x.dtype), _ready(conv_offset_output, torch.float32)
    grad_x = torch.zeros_like(picture, dtype=torch.float32, memory_format=torch.channels_last)
    grad_offsets = torch.empty_like(offsets, memory_format=torch.channels_last)
    grad_matrix = torch.zeros_like(matrix, dtype=torch.float32)
    pixels = max(1, COLUMN_BYTES // (matrix.shape[1] * x.element_size()))
    for first in range(0, len(grad), pixels):
        part = grad[first : first + pixels]
        grad_columns = part @ matrix
        columns = torch.empty_like(grad_columns)
        blocks = (-(-len(part) * taps * groups // cuda.THREADS),)
        tensors = picture, offsets, grad_columns, columns, grad_x, grad_offsets
        cuda.launch(f"backward_{_name(x.dtype)}", blocks, 0, *tensors, first, len(part), h, w, c, groups, kernel)
        grad_matrix += part.mT @ columns
    grad_weight = grad_matrix.view(out_channels, kernel, kernel, c).permute(0, 3, 1, 2)
    grad_bias = grad.sum(0, dtype=torch.float32)
    return (
        grad_x.to(x.dtype),
        grad_offsets.to(conv_offset_output.dtype),
        grad_weight.to(weight.dtype).contiguous(),
        grad_bias.to(bias.dtype),
    )


def _ready(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As a kernel reads it: of the type, channels_last, at a multiple of 16 bytes."""
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    tensor = tensor.to(dtype).contiguous(memory_format=layout)
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _has_tensor_cores(x: Tensor) -> bool:
    """With the 16-bit products that the kernel needs."""
    needed = {torch.float16: (7, 5), torch.bfloat16: (8, 0)}
    return x.dtype in needed and cuda.capability(x.device) >= needed[x.dtype]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
