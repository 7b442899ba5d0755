"""Computes `vsedvr.ops.dcn` and its gradients with the GPU kernels (kernels/deform_conv.cu).

Every tensor whose address goes to a kernel is checked first.
"""

import torch
from torch import Tensor

from vsedvr.ops import cuda
from vsedvr.ops.checks import check, check_dcn
from vsedvr.ops.columns import backward_in_parts

__all__ = ["DTYPES", "backward", "forward"]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

TENSOR_CORES = {(32, 4), (64, 8), (128, 8)}
"""Pairs (channels in and out, deformable groups) for which there is a kernel on tensor cores."""

OPERATOR = "mma"
"""Kind of the kernel on tensor cores for float16: "mma" has the samples in shared memory, "registers" in registers, and "half2"
blends them in float16 as well. Only "mma" is chosen until a card has shown which is the fastest."""

REGISTERS_SHARED_BYTES = {32: 2 * 128 * (32 + 8), 64: 2 * 128 * (64 + 8)}
"""Shared memory in bytes of a block of the kernels with their samples in registers, by number of channels."""

ANY_SHARED_BYTES = 4 * (64 + 64) * (32 + 4)
"""Shared memory in bytes of a block of the general kernel, for any number of channels and groups, without tensor cores."""


def forward(
    x: Tensor,
    conv_offset_output: Tensor,
    weight: Tensor,
    bias: Tensor,
    slope: float,
    offset_bias: Tensor | None = None,
) -> Tensor:
    """Computes `vsedvr.ops.dcn` on a GPU, for x in one of DTYPES; weight and bias are converted to the type of x.

    A tensor is copied only if it is not channels_last, not aligned or of another type.

    Raises:
        ValueError: if shapes or devices do not match, or x is of another type.
    """
    groups = check_dcn(x, conv_offset_output, weight, bias, offset_bias)
    _check_dtype(x)
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    predicted = 3 * groups * kernel * kernel
    both_half = x.dtype == conv_offset_output.dtype == torch.float16
    offset_dtype = torch.float16 if both_half else torch.float32
    out = torch.empty((b, out_channels, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if offset_bias is not None:
        offset_bias = _checked("offset_bias", _ready(offset_bias, offset_dtype), (predicted,), offset_dtype, x.device)
    offsets = _ready(conv_offset_output, offset_dtype)
    tensors = (
        _checked("x", _ready(x, x.dtype), (b, c, h, w), x.dtype, x.device),
        _checked("conv_offset_output", offsets, (b, predicted, h, w), offset_dtype, x.device),
        offset_bias,
        _checked("weight", _ready(weight, x.dtype), (out_channels, c, kernel, kernel), x.dtype, x.device),
        _checked("bias", _ready(bias, x.dtype), (out_channels,), x.dtype, x.device),
        _checked("out", out, (b, out_channels, h, w), x.dtype, x.device),
    )
    tiles = b * -(-h // 8) * -(-w // 8)
    if tiles and OPERATOR != "mma" and _has_samples_in_registers(x, offset_dtype, out_channels, kernel, groups):
        tiles = b * -(-h // 8) * -(-w // 16)
        cuda.launch(f"{OPERATOR}_float16_float16_{c}_{groups}", (tiles,), REGISTERS_SHARED_BYTES[c], *tensors, h, w, slope)
    elif tiles and _has_tensor_cores(x) and out_channels == c and kernel == 3 and (c, groups) in TENSOR_CORES:
        name = f"mma_{_name(x.dtype)}_{_name(offset_dtype)}_{c}_{groups}"
        cuda.launch(name, (tiles,), mma_shared_bytes(c, groups), *tensors, h, w, slope)
    elif tiles:
        name = f"any_{_name(x.dtype)}_{_name(offset_dtype)}"
        blocks = tiles, -(-out_channels // 64)
        cuda.launch(name, blocks, ANY_SHARED_BYTES, *tensors, h, w, c, out_channels, groups, kernel, slope)
    return out


def mma_shared_bytes(c: int, groups: int) -> int:
    """Returns the shared memory in bytes of a block on tensor cores: two 16-bit buffers each for samples and weights."""
    return 2 * 2 * (64 * (4 * c // groups + 8) + c * (32 + 8))


def backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of x, conv_offset_output, weight and bias, each in its tensor's type; the first two channels_last.

    Products are in the type of x, sums in float32. The order of additions to the gradient of x differs from run to run.

    Args:
        grad: gradient of the output before the LeakyReLU, (b, out_channels, h, w).
        x: features that were sampled, as for `vsedvr.ops.dcn`.
        conv_offset_output: offsets and mask logits, as for `vsedvr.ops.dcn`.
        weight: as for `vsedvr.ops.dcn`.
        bias: as for `vsedvr.ops.dcn`.

    Raises:
        ValueError: if shapes or devices do not match, or x is of another type.
    """
    groups = check_dcn(x, conv_offset_output, weight, bias)
    _check_dtype(x)
    b, c, h, w = x.shape
    if b * h * w >= 2**31:  # the kernel numbers the pixels of a batch with 32 bits
        raise ValueError(f"batch * height * width of x must be below 2**31, got {b} * {h} * {w}")
    out_channels, _, kernel, _ = weight.shape
    taps = kernel * kernel
    grad = _checked("grad", _ready(grad, x.dtype), (b, out_channels, h, w), x.dtype, x.device)
    picture, offsets = _ready(x, x.dtype), _ready(conv_offset_output, torch.float32)
    grad_x = torch.zeros_like(picture, dtype=torch.float32, memory_format=torch.channels_last)
    grad_offsets = torch.empty_like(offsets, memory_format=torch.channels_last)

    def run(first: int, grad_columns: Tensor, columns: Tensor) -> None:
        offset_shape, sample_shape = (b, 3 * groups * taps, h, w), (len(columns), taps * c)
        tensors = (
            _checked("x", picture, (b, c, h, w), x.dtype, x.device),
            _checked("conv_offset_output", offsets, offset_shape, torch.float32, x.device),
            _checked("grad_columns", grad_columns, sample_shape, x.dtype, x.device),
            _checked("columns", columns, sample_shape, x.dtype, x.device),
            _checked("grad_x", grad_x, (b, c, h, w), torch.float32, x.device),
            _checked("grad_conv_offset", grad_offsets, offset_shape, torch.float32, x.device),
        )
        blocks = (-(-len(columns) * taps * groups // cuda.THREADS),)
        cuda.launch(f"backward_{_name(x.dtype)}", blocks, 0, *tensors, first, len(columns), h, w, c, groups, kernel)

    grad_weight = backward_in_parts(grad, _ready(weight, x.dtype), 1, run)
    grad_bias = grad.sum((0, 2, 3), dtype=torch.float32)
    return (
        grad_x.to(x.dtype),
        grad_offsets.to(conv_offset_output.dtype),
        grad_weight.to(weight.dtype).contiguous(),
        grad_bias.to(bias.dtype),
    )


def _ready(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the tensor as a kernel reads it: in the given type, channels_last, aligned to 16 bytes. Copies only if needed."""
    tensor = tensor.to(dtype).contiguous(memory_format=_layout(tensor))
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _layout(tensor: Tensor) -> torch.memory_format:
    return torch.channels_last if tensor.ndim == 4 else torch.contiguous_format


def _checked(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns the tensor, after checking that it is what a kernel expects."""
    check(name, tensor, shape, dtype, device, _layout(tensor))
    if tensor.data_ptr() % 16:
        raise ValueError(f"{name} must lie at a multiple of 16 bytes, got the address {tensor.data_ptr()}")
    return tensor


def _check_dtype(x: Tensor) -> None:
    if x.dtype not in DTYPES:
        raise ValueError(f"x must be of type {', '.join(map(str, DTYPES))}, got {x.dtype}")


def _has_tensor_cores(x: Tensor) -> bool:
    """Tells whether the GPU has tensor cores for the type of x, and x is small enough for the kernel's 32-bit positions."""
    needed = {torch.float16: (7, 5), torch.bfloat16: (8, 0)}
    small = x.shape[1] * x.shape[2] * x.shape[3] <= 8 << 32  # one position stands for eight channels
    return small and x.dtype in needed and cuda.capability(x.device) >= needed[x.dtype]


def _has_samples_in_registers(x: Tensor, offset_dtype: torch.dtype, out_channels: int, kernel: int, groups: int) -> bool:
    """Whether there is a kernel of the kinds "registers" and "half2"."""
    c = x.shape[1]
    shape = c == out_channels == 8 * groups and c in REGISTERS_SHARED_BYTES and kernel == 3
    return shape and offset_dtype == torch.float16 and _has_tensor_cores(x) and cuda.capability(x.device) >= (8, 0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
