"""The kernels compiled for CPUs, kernels/*.cpp: there where the package was built with a compiler.

All run without gradients on torch.get_num_threads() threads, and copy nothing that is channels_last and of the right type
already. Shapes are the caller's to check.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["best_isa", "conv3x3", "dcn", "is_available"]

FILE = next(Path(__file__).parent.parent.glob("_kernels.*"), None)
DCN = {torch.float32: "vsedvr_dcn_float32", torch.bfloat16: "vsedvr_dcn_bfloat16"}
CONV3X3 = "vsedvr_conv3x3_float32"


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(FILE))
    pointers, settings = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_int]
    for name in DCN.values():
        getattr(library, name).argtypes = pointers * 6 + [ctypes.c_float, *settings]
    getattr(library, CONV3X3).argtypes = pointers * 5 + settings
    for name in (*DCN.values(), CONV3X3):
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
