"""The kernels compiled for CPUs, kernels/*.cpp: there where the package was built with a compiler.

All run on torch.get_num_threads() threads, and copy nothing that is channels_last and of the right type
already. Shapes are the caller's to check.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["best_isa", "conv3x3", "dcn", "dcn_backward", "is_available"]

FILE = next(Path(__file__).parent.parent.glob("_kernels.*"), None)
DCN = {torch.float32: "vsedvr_dcn_float32", torch.bfloat16: "vsedvr_dcn_bfloat16"}
DCN_BACKWARD = "vsedvr_dcn_backward_float32"
CONV3X3 = "vsedvr_conv3x3_float32"

COLUMN_BYTES = 64 << 20
"""Of the samples that are kept at a time in the backward pass, and again of their gradients."""


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(FILE))
    pointers, settings = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_int]
    for name in DCN.values():
        getattr(library, name).argtypes = pointers * 6 + [ctypes.c_float, *settings]
    getattr(library, DCN_BACKWARD).argtypes = pointers * 7 + settings
    getattr(library, CONV3X3).argtypes = pointers * 5 + settings
    for name in (*DCN.values(), DCN_BACKWARD, CONV3X3):
        getattr(library, name).restype = None
    return library


def is_available() -> bool:
    """Whether the package was built with the kernels."""
    return FILE is not None


def best_isa() -> int:
    """The best instruction set of this processor: 0 for any, 1 for AVX2, 2 for AVX-512."""
    return int(_library().vsedvr_best_isa())


def dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, isa: int | None = None) -> Tensor:
    """`vsedvr.ops.dcn` of x and weight in float32 or bfloat16; the rest is float32."""
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    groups = conv_offset_output.shape[1] // (3 * kernel * kernel)
    x = x.contiguous(memory_format=torch.channels_last)
    conv_offset_output = conv_offset_output.float().contiguous(memory_format=torch.channels_last)
    weight = weight.to(x.dtype).contiguous()
    bias = bias.float().contiguous()
    out = torch.empty((b, out_channels, h, w), dtype=x.dtype, memory_format=torch.channels_last)
    shape = (ctypes.c_int64 * 7)(b, h, w, c, out_channels, groups, kernel)
    tensors = (tensor.data_ptr() for tensor in (x, conv_offset_output, weight, bias, out))
    getattr(_library(), DCN[x.dtype])(ctypes.addressof(shape), *tensors, slope, *_settings(isa))
    return out


def dcn_backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, isa: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, conv_offset_output and weight in float32, the first two channels_last; the same in every run.

    Threads share the pictures of a batch.

    Args:
        grad: gradient before the LeakyReLU, (b, out_channels, h, w).
    """
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    taps = kernel * kernel
    groups = conv_offset_output.shape[1] // (3 * taps)
    matrix = weight.float().permute(0, 2, 3, 1).reshape(out_channels, taps * c)
    grad, x, conv_offset_output = (
        tensor.float().contiguous(memory_format=torch.channels_last) for tensor in (grad, x, conv_offset_output)
    )
    grad_x, grad_offset = torch.zeros_like(x), torch.empty_like(conv_offset_output)
    grad_matrix = torch.zeros_like(matrix)
    pictures = max(1, COLUMN_BYTES // max(1, 4 * h * w * taps * c))
    for part in (slice(first, first + pictures) for first in range(0, b, pictures)):
        rows = grad[part].permute(0, 2, 3, 1).reshape(-1, out_channels)
        grad_columns = rows @ matrix
        columns = torch.empty_like(grad_columns)
        shape = (ctypes.c_int64 * 7)(len(grad[part]), h, w, c, out_channels, groups, kernel)
        tensors = x[part], conv_offset_output[part], grad_columns, columns, grad_x[part], grad_offset[part]
        getattr(_library(), DCN_BACKWARD)(ctypes.addressof(shape), *(t.data_ptr() for t in tensors), *_settings(isa))
        grad_matrix += rows.mT @ columns
    return grad_x, grad_offset, grad_matrix.view(out_channels, kernel, kernel, c).permute(0, 3, 1, 2)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, isa: int | None = None) -> Tensor:
    """`vsedvr.ops.conv3x3` in float32; the number of input channels is a multiple of 16."""
    b, c, h, w = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    weight = weight.contiguous()
    bias = None if bias is None else bias.float().contiguous()
    out = torch.empty((b, weight.shape[0], h, w), memory_format=torch.channels_last)
    shape = (ctypes.c_int64 * 5)(b, h, w, c, weight.shape[0])
    tensors = (None if tensor is None else tensor.data_ptr() for tensor in (x, weight, bias, out))
    getattr(_library(), CONV3X3)(ctypes.addressof(shape), *tensors, *_settings(isa))
    return out


def _settings(isa: int | None) -> tuple[int, int]:
    return torch.get_num_threads(), best_isa() if isa is None else isa
