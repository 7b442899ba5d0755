"""Calls the kernels for CPUs (kernels/*.cpp), a library that is there if the package was built with a compiler.

All functions run on torch.get_num_threads() threads, or on one for each core that the process may use where these are fewer.
The threads are the library's: it makes them once and keeps them (kernels/threads.hpp). A second caller at the same time works
on its own thread. The result does not depend on the number of threads.

No tensor is copied that already has the type and the layout that the kernel reads: channels_last for pictures, contiguous for
weights. Whatever goes to the library as an address is checked first.
"""

import ctypes
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsedvr.ops.checks import check, check_dcn
from vsedvr.ops.columns import backward_in_parts
from vsedvr.ops.cores import usable_cores

__all__ = ["best_isa", "conv3x3", "dcn", "dcn_backward", "is_available"]

FILE = next(Path(__file__).parent.parent.glob("_kernels.*"), None)
DCN = {torch.float32: "vsedvr_dcn_float32", torch.bfloat16: "vsedvr_dcn_bfloat16"}
DCN_BACKWARD = "vsedvr_dcn_backward_float32"
CONV3X3 = "vsedvr_conv3x3_float32"

CPU = torch.device("cpu")
PICTURE = torch.channels_last
WEIGHT = torch.contiguous_format


INTERFACE = 2
"""Which functions with which arguments the library must have; vsedvr_interface in kernels/deform_conv.cpp says the same."""

logger = logging.getLogger("vsedvr")


def _load() -> ctypes.CDLL | None:
    """The library, or None if the package was built without it, or if it is of no use here."""
    if FILE is None:
        return None
    try:
        library = ctypes.CDLL(str(FILE))
        version = library.vsedvr_interface()
    except (OSError, AttributeError) as error:
        version = error
    if version != INTERFACE:
        reason = f"version {version} of its interface, not {INTERFACE}" if isinstance(version, int) else version
        logger.warning("%s cannot be used (%s), so slower operators of PyTorch run; install vsedvr again", FILE, reason)
        return None
    pointers, settings = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_int]
    for name in DCN.values():
        getattr(library, name).argtypes = pointers * 6 + [ctypes.c_float, *settings]
    getattr(library, DCN_BACKWARD).argtypes = pointers * 7 + settings
    getattr(library, CONV3X3).argtypes = pointers * 5 + settings
    for name in (*DCN.values(), DCN_BACKWARD, CONV3X3):
        getattr(library, name).restype = ctypes.c_int
    return library


LIBRARY = _load()


def is_available() -> bool:
    """Whether the kernels are there: the package was built with a compiler."""
    return LIBRARY is not None


def best_isa() -> int:
    """The best instruction set of this processor that the kernels have: 0 for any, 1 for AVX2, 2 for AVX-512."""
    return int(_library().vsedvr_best_isa())


def dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, isa: int | None = None) -> Tensor:
    """`vsedvr.ops.dcn` of x in float32 or bfloat16, on a CPU.

    Raises:
        ValueError: if tensors do not belong together, or are not what the kernel takes.
        MemoryError: if there is no memory for the kernel's buffers.
    """
    groups = check_dcn(x, conv_offset_output, weight, bias)
    if x.dtype not in DCN:
        raise ValueError(f"x must be of type {' or '.join(map(str, DCN))}, got {x.dtype}")
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    x = x.contiguous(memory_format=PICTURE)
    conv_offset_output = conv_offset_output.float().contiguous(memory_format=PICTURE)
    weight = weight.to(x.dtype).contiguous()
    bias = bias.float().contiguous()
    out = torch.empty((b, out_channels, h, w), dtype=x.dtype, device=CPU, memory_format=PICTURE)
    addresses = (
        _address("x", x, (b, c, h, w), x.dtype, PICTURE),
        _address("conv_offset_output", conv_offset_output, (b, 3 * groups * kernel * kernel, h, w), torch.float32, PICTURE),
        _address("weight", weight, (out_channels, c, kernel, kernel), x.dtype, WEIGHT),
        _address("bias", bias, (out_channels,), torch.float32, WEIGHT),
        _address("out", out, (b, out_channels, h, w), x.dtype, PICTURE),
    )
    shape = (ctypes.c_int64 * 7)(b, h, w, c, out_channels, groups, kernel)
    _call(DCN[x.dtype], ctypes.addressof(shape), *addresses, slope, *_settings(isa))
    return out


def dcn_backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, isa: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, conv_offset_output and weight in float32, the first two channels_last; the same in every run.

    Each thread takes whole pictures of the batch.

    Args:
        grad: gradient before the LeakyReLU, (b, out_channels, h, w).
        x, conv_offset_output, weight: what the forward pass was given, on a CPU.
        isa: instruction set; the best by default.

    Raises:
        ValueError: if tensors do not belong together.
        MemoryError: if there is no memory for the kernel's buffers.
    """
    groups = check_dcn(x, conv_offset_output, weight)
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    taps = kernel * kernel
    grad, x, conv_offset_output = (tensor.float().contiguous(memory_format=PICTURE) for tensor in (grad, x, conv_offset_output))
    check("grad", grad, (b, out_channels, h, w), torch.float32, CPU, PICTURE)
    grad_x = torch.zeros_like(x, memory_format=PICTURE)
    grad_offset = torch.empty_like(conv_offset_output, memory_format=PICTURE)

    def run(first: int, grad_columns: Tensor, columns: Tensor) -> None:
        n = len(columns) // (h * w)
        part = slice(first // (h * w), first // (h * w) + n)
        offsets, samples = (n, 3 * groups * taps, h, w), (n * h * w, taps * c)
        addresses = (
            _address("x", x[part], (n, c, h, w), torch.float32, PICTURE),
            _address("conv_offset_output", conv_offset_output[part], offsets, torch.float32, PICTURE),
            _address("grad_columns", grad_columns, samples, torch.float32, WEIGHT),
            _address("columns", columns, samples, torch.float32, WEIGHT),
            _address("grad_x", grad_x[part], (n, c, h, w), torch.float32, PICTURE),
            _address("grad_conv_offset", grad_offset[part], offsets, torch.float32, PICTURE),
        )
        shape = (ctypes.c_int64 * 7)(n, h, w, c, out_channels, groups, kernel)
        _call(DCN_BACKWARD, ctypes.addressof(shape), *addresses, *_settings(isa))

    grad_weight = backward_in_parts(grad, weight.float(), h * w, run)
    return grad_x, grad_offset, grad_weight


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, isa: int | None = None) -> Tensor:
    """`vsedvr.ops.conv3x3` in float32, on a CPU; the number of input channels is a multiple of 16.

    Raises:
        ValueError: if tensors do not belong together, or are not what the kernel takes.
        MemoryError: if there is no memory for the kernel's buffers.
    """
    if x.ndim != 4 or x.shape[1] % 16:
        raise ValueError(f"x must have the shape (b, c, h, w) with c a multiple of 16, got {tuple(x.shape)}")
    b, c, h, w = x.shape
    out_channels = len(weight)
    x = x.contiguous(memory_format=PICTURE)
    weight = weight.contiguous()
    bias = None if bias is None else bias.float().contiguous()
    out = torch.empty((b, out_channels, h, w), dtype=torch.float32, device=CPU, memory_format=PICTURE)
    addresses = (
        _address("x", x, (b, c, h, w), torch.float32, PICTURE),
        _address("weight", weight, (out_channels, c, 3, 3), torch.float32, WEIGHT),
        None if bias is None else _address("bias", bias, (out_channels,), torch.float32, WEIGHT),
        _address("out", out, (b, out_channels, h, w), torch.float32, PICTURE),
    )
    shape = (ctypes.c_int64 * 5)(b, h, w, c, out_channels)
    _call(CONV3X3, ctypes.addressof(shape), *addresses, *_settings(isa))
    return out


def _address(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> int:
    check(name, tensor, shape, dtype, CPU, layout)
    return tensor.data_ptr()


def _library() -> ctypes.CDLL:
    if LIBRARY is None:
        raise RuntimeError("vsedvr was built without the kernels for CPUs")
    return LIBRARY


def _call(name: str, *args: Any) -> None:
    if getattr(_library(), name)(*args):
        raise MemoryError(f"out of memory in {name}")


def _settings(isa: int | None) -> tuple[int, int]:
    """Number of threads and instruction set, as every function of the library ends with."""
    best = best_isa()
    if isa is not None and not 0 <= isa <= best:
        raise ValueError(f"isa must be within 0..{best} on this processor, got {isa}")
    return min(torch.get_num_threads(), usable_cores()), best if isa is None else isa
