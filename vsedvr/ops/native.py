"""The deformable convolution compiled for CPUs, kernels/deform_conv.cpp: there where the package was built with a compiler."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["dcn", "is_available"]

FUNCTIONS = {torch.float32: "vsedvr_dcn_float32", torch.bfloat16: "vsedvr_dcn_bfloat16"}


@cache
def _library() -> ctypes.CDLL | None:
    path = next(Path(__file__).parent.parent.glob("_deform_conv.*"), None)
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    for name in FUNCTIONS.values():
        function = getattr(library, name)
        function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_float, ctypes.c_int, ctypes.c_int]
        function.restype = None
    return library


def is_available(x: Tensor) -> bool:
    """Whether `dcn` can run on features of this device and type."""
    return x.device.type == "cpu" and x.dtype in FUNCTIONS and _library() is not None


def best_isa() -> int:
    """The best instruction set of this processor: 0 for any, 1 for AVX2, 2 for AVX-512."""
    library = _library()
    assert library is not None
    return int(library.vsedvr_best_isa())


def dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, isa: int | None = None) -> Tensor:
    """`vsedvr.ops.dcn` without gradients, on torch.get_num_threads() threads; shapes are the caller's to check.

    Copies nothing of what is channels_last and of the right type already: x and weight float32 or bfloat16, the rest
    float32.
    """
    library = _library()
    assert library is not None
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    groups = conv_offset_output.shape[1] // (3 * kernel * kernel)
    x = x.contiguous(memory_format=torch.channels_last)
    conv_offset_output = conv_offset_output.float().contiguous(memory_format=torch.channels_last)
    weight = weight.to(x.dtype).contiguous()
    bias = bias.float().contiguous()
    out = torch.empty((b, out_channels, h, w), dtype=x.dtype, memory_format=torch.channels_last)
    shape = (ctypes.c_int64 * 7)(b, h, w, c, out_channels, groups, kernel)
    getattr(library, FUNCTIONS[x.dtype])(
        ctypes.addressof(shape),
        *(tensor.data_ptr() for tensor in (x, conv_offset_output, weight, bias, out)),
        slope,
        torch.get_num_threads(),
        best_isa() if isa is None else isa,
    )
    return out
