"""Calls the CPU kernels (kernels/*.cpp), a library that exists if the package was built with a compiler.

All functions run on torch.get_num_threads() threads, or on fewer if the process may not use so many cores. The library creates
its threads once and keeps them (kernels/threads.hpp). A second caller at the same time runs on its own thread only. The result
does not depend on the number of threads.

Tensors that already have the type and layout that the kernel reads are not copied: channels_last for pictures, contiguous for
weights. Every tensor whose address goes to the library is checked first.
"""

import ctypes
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsedvr.ops.arena import empty_picture
from vsedvr.ops.checks import check, check_dcn
from vsedvr.ops.columns import backward_in_parts
from vsedvr.ops.cores import usable_cores

__all__ = [
    "PICTURE",
    "address",
    "best_isa",
    "call",
    "conv3x3",
    "dcn",
    "dcn_backward",
    "direct_floats",
    "is_available",
    "packed_floats",
    "serves",
    "settings",
]

FILE = next(Path(__file__).parent.parent.glob("_kernels.*"), None)
DCN = {torch.float32: "vsedvr_dcn_float32", torch.bfloat16: "vsedvr_dcn_bfloat16"}
DCN_BACKWARD = "vsedvr_dcn_backward_float32"
CONV3X3 = "vsedvr_conv3x3_float32"
PACK = "vsedvr_conv3x3_pack"
PACKED = "vsedvr_conv3x3_packed_float32"
DIRECT_PACK = "vsedvr_conv_pack"
DIRECT = "vsedvr_conv_float32"
SIMILARITY = "vsedvr_similarity_float32"
UPSAMPLE = "vsedvr_upsample_float32"

CPU = torch.device("cpu")
PICTURE = torch.channels_last
WEIGHT = torch.contiguous_format


INTERFACE = 4
"""Version of the library's functions and their arguments; vsedvr_interface in kernels/deform_conv.cpp must return the same."""

logger = logging.getLogger("vsedvr")


def _load() -> tuple[ctypes.CDLL | None, str]:
    """Loads the library. Returns None if the package was built without it, or if it cannot be used, and then the reason."""
    if FILE is None:
        return None, ""
    try:
        library = ctypes.CDLL(str(FILE))
        version = library.vsedvr_interface()
    except (OSError, AttributeError) as error:
        version = error
    if version != INTERFACE:
        reason = f"version {version} of its interface, not {INTERFACE}" if isinstance(version, int) else version
        problem = f"{FILE} cannot be used ({reason}), so slower operators of PyTorch run"
        logger.warning("%s; install vsedvr again", problem)
        return None, problem
    pointers, settings = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_int]
    for name in DCN.values():
        getattr(library, name).argtypes = pointers * 6 + [ctypes.c_float, *settings]
    getattr(library, DCN_BACKWARD).argtypes = pointers * 7 + settings
    getattr(library, CONV3X3).argtypes = pointers * 5 + settings
    getattr(library, PACK).argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int, *pointers * 3, *settings]
    getattr(library, PACKED).argtypes = pointers * 6 + [ctypes.c_float, ctypes.c_float, *settings]
    getattr(library, DIRECT_PACK).argtypes = [ctypes.c_int64] * 3 + pointers * 3 + [ctypes.c_int]
    getattr(library, DIRECT_PACK).restype = None
    getattr(library, DIRECT).argtypes = pointers * 7 + [ctypes.c_float, *settings]
    getattr(library, SIMILARITY).argtypes = [ctypes.c_int64] * 2 + pointers * 3 + settings
    getattr(library, UPSAMPLE).argtypes = pointers * 3 + settings
    library.vsedvr_conv_packed_floats.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int]
    library.vsedvr_conv_packed_floats.restype = ctypes.c_int64
    library.vsedvr_conv3x3_packed_floats.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int]
    library.vsedvr_conv3x3_packed_floats.restype = ctypes.c_int64
    for name in (*DCN.values(), DCN_BACKWARD, CONV3X3, PACK, PACKED, DIRECT, SIMILARITY, UPSAMPLE):
        getattr(library, name).restype = ctypes.c_int
    return library, ""


LIBRARY, PROBLEM = _load()
"""The library, or None, and the reason why an installed library cannot be used, or an empty string."""


def is_available() -> bool:
    """Tells whether the package was built with the CPU kernels and they can be used."""
    return LIBRARY is not None


def serves(x: Tensor) -> bool:
    """Whether kernels without gradients take a tensor: on a CPU, in float32, no gradients are wanted, and nothing is traced."""
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()
    return plain and not traced and is_available()


def best_isa() -> int:
    """Returns the best instruction set that this processor and the kernels have: 0 for any, 1 for AVX2, 2 for AVX-512."""
    return int(_library().vsedvr_best_isa())


def dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, isa: int | None = None) -> Tensor:
    """Computes `vsedvr.ops.dcn` on a CPU, for x in float32 or bfloat16.

    Raises:
        ValueError: if tensors do not match, or are not of a kind that the kernel takes.
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
    out = empty_picture((b, out_channels, h, w), x.dtype)
    addresses = (
        address("x", x, (b, c, h, w), x.dtype, PICTURE),
        address("conv_offset_output", conv_offset_output, (b, 3 * groups * kernel * kernel, h, w), torch.float32, PICTURE),
        address("weight", weight, (out_channels, c, kernel, kernel), x.dtype, WEIGHT),
        address("bias", bias, (out_channels,), torch.float32, WEIGHT),
        address("out", out, (b, out_channels, h, w), x.dtype, PICTURE),
    )
    shape = (ctypes.c_int64 * 7)(b, h, w, c, out_channels, groups, kernel)
    call(DCN[x.dtype], ctypes.addressof(shape), *addresses, slope, *settings(isa))
    return out


def dcn_backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, isa: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of x, conv_offset_output and weight in float32, the first two channels_last; the same in every run.

    The batch is divided among threads by whole pictures.

    Args:
        grad: gradient of the output before the LeakyReLU, (b, out_channels, h, w).
        x: features that were sampled, on a CPU, as for `vsedvr.ops.dcn`.
        conv_offset_output: offsets and mask logits, as for `vsedvr.ops.dcn`.
        weight: as for `vsedvr.ops.dcn`.
        isa: instruction set, as best_isa numbers them; the best by default.

    Raises:
        ValueError: if tensors do not match.
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
            address("x", x[part], (n, c, h, w), torch.float32, PICTURE),
            address("conv_offset_output", conv_offset_output[part], offsets, torch.float32, PICTURE),
            address("grad_columns", grad_columns, samples, torch.float32, WEIGHT),
            address("columns", columns, samples, torch.float32, WEIGHT),
            address("grad_x", grad_x[part], (n, c, h, w), torch.float32, PICTURE),
            address("grad_conv_offset", grad_offset[part], offsets, torch.float32, PICTURE),
        )
        shape = (ctypes.c_int64 * 7)(n, h, w, c, out_channels, groups, kernel)
        call(DCN_BACKWARD, ctypes.addressof(shape), *addresses, *settings(isa))

    grad_weight = backward_in_parts(grad, weight.float(), h * w, run)
    return grad_x, grad_offset, grad_weight


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, isa: int | None = None) -> Tensor:
    """Computes `vsedvr.ops.conv3x3` in float32, on a CPU.

    Raises:
        ValueError: if tensors do not match, or are not of a kind that the kernel takes.
        MemoryError: if there is no memory for the kernel's buffers.
    """
    if x.ndim != 4:
        raise ValueError(f"x must have the shape (b, c, h, w), got {tuple(x.shape)}")
    b, c, h, w = x.shape
    out_channels = len(weight)
    x = x.contiguous(memory_format=PICTURE)
    weight = weight.contiguous()
    bias = None if bias is None else bias.float().contiguous()
    out = torch.empty((b, out_channels, h, w), dtype=torch.float32, device=CPU, memory_format=PICTURE)
    addresses = (
        address("x", x, (b, c, h, w), torch.float32, PICTURE),
        address("weight", weight, (out_channels, c, 3, 3), torch.float32, WEIGHT),
        None if bias is None else address("bias", bias, (out_channels,), torch.float32, WEIGHT),
        address("out", out, (b, out_channels, h, w), torch.float32, PICTURE),
    )
    shape = (ctypes.c_int64 * 5)(b, h, w, c, out_channels)
    call(CONV3X3, ctypes.addressof(shape), *addresses, *settings(isa))
    return out


def packed_floats(channels: int, out_channels: int, shuffle: bool, isa: int) -> int:
    """Returns the number of floats in the packed weights and bias of a 3x3 convolution (ops/packed.py)."""
    return int(_library().vsedvr_conv3x3_packed_floats(channels, out_channels, shuffle, isa))


def direct_floats(depth: int, out_channels: int, isa: int) -> int:
    """How many floats the packed weights and bias of a direct convolution of this depth have (ops/direct.py)."""
    return int(_library().vsedvr_conv_packed_floats(depth, out_channels, isa))


def address(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> int:
    """Checks that a tensor is what the library expects, and returns its address."""
    check(name, tensor, shape, dtype, CPU, layout)
    return tensor.data_ptr()


def _library() -> ctypes.CDLL:
    if LIBRARY is None:
        raise RuntimeError("vsedvr was built without the kernels for CPUs")
    return LIBRARY


def call(name: str, *args: Any) -> None:
    """Calls a function of the library.

    Raises:
        MemoryError: if there is no memory for its buffers.
    """
    if getattr(_library(), name)(*args):
        raise MemoryError(f"out of memory in {name}")


def settings(isa: int | None) -> tuple[int, int]:
    """Returns the number of threads and the instruction set, the last two arguments of every function of the library."""
    best = best_isa()
    if isa is not None and not 0 <= isa <= best:
        raise ValueError(f"isa must be within 0..{best} on this processor, got {isa}")
    return min(torch.get_num_threads(), usable_cores()), best if isa is None else isa
