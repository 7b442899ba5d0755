"""Compiles the GPU kernels (kernels/*.cu) with CuPy on the user's machine, and launches them on torch's stream.

If CuPy is missing, or was built for another version of CUDA than torch, one warning says what to install, and is_available
returns False. Then torchvision's operator is used instead.
"""

import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsedvr.ops.find_cupy import Problem, cache_folder, cupy_problem, first_line, install_line

__all__ = ["KERNELS", "THREADS", "capability", "is_available", "kernels_or_problem", "launch", "prepare", "source"]

THREADS = 256
"""Number of threads in a block of every kernel."""

KERNELS = {
    (6, 0): (
        "any_float32_float32",
        "any_float16_float32",
        "any_float16_float16",
        "any_bfloat16_float32",
        "backward_float32",
        "backward_float16",
        "backward_bfloat16",
        "bias_act_float32",
        "bias_act_float16",
        "bias_act_bfloat16",
        "bias_act_shuffle_float32",
        "bias_act_shuffle_float16",
        "bias_act_shuffle_bfloat16",
    ),
    (7, 5): (
        "mma_float16_float16_32_4",
        "mma_float16_float16_64_8",
        "mma_float16_float16_128_8",
        "mma_float16_float32_32_4",
        "mma_float16_float32_64_8",
        "mma_float16_float32_128_8",
    ),
    (8, 0): (
        "mma_bfloat16_float32_32_4",
        "mma_bfloat16_float32_64_8",
        "mma_bfloat16_float32_128_8",
    ),
}
"""Names of the kernels, by the compute capability that they need.

A name consists of the kind of kernel and the type of x. For deformable convolutions then follow the type of
conv_offset_output and, for kernels on tensor cores (mma, registers, half2), the numbers of channels and of deformable groups.
"""

CANDIDATES = (
    "registers_float16_float16_32_4",
    "registers_float16_float16_64_8",
    "half2_float16_float16_32_4",
    "half2_float16_float16_64_8",
)
"""Names of kernels that nothing chooses by default (cuda_dcn.OPERATOR). They are compiled when one is launched for the first
time, on GPUs of compute capability 8.0 and higher."""

SOURCES = (
    "prims.cuh",
    "deform_conv_samples.cuh",
    "deform_conv_mma.cuh",
    "deform_conv_registers.cuh",
    "deform_conv_backward.cuh",
    "deform_conv.cu",
    "bias_act.cu",
)
OPTIONS = ("--std=c++17",)
PACKAGE = Path(__file__).parent.parent
FOLDERS = (PACKAGE / "kernels", PACKAGE.parent / "kernels")  # in a wheel, and in a checkout

logger = logging.getLogger("vsedvr")


def prepare(device: torch.device) -> None:
    """Compiles and loads all kernels for a GPU. The first time on a machine this takes seconds. On a CPU it does nothing.

    Otherwise the first operator on a GPU does this, which delays the first frame and fails while a CUDA graph is captured.
    """
    is_available(device)


def is_available(device: torch.device) -> bool:
    """Tells whether the kernels run on a device. The first call for a GPU compiles them, or warns of what is missing."""
    return device.type == "cuda" and bool(_load(torch.cuda.current_device() if device.index is None else device.index))


def capability(device: torch.device) -> tuple[int, int]:
    """Returns the compute capability of a GPU, such as (8, 6)."""
    return torch.cuda.get_device_capability(device)


def source() -> str:
    """Returns the text that CuPy compiles: all files in one, because CuPy's cache does not notice a changed included file."""
    folder = next((folder for folder in FOLDERS if (folder / SOURCES[0]).is_file()), None)
    if folder is None:
        raise FileNotFoundError(f"{SOURCES[0]} is neither in {FOLDERS[0]} nor in {FOLDERS[1]}")
    return "".join(f'#line 1 "{name}"\n{(folder / name).read_text()}' for name in SOURCES)


def launch(name: str, blocks: tuple[int, ...], shared_bytes: int, *args: Tensor | int | float | None) -> None:
    """Starts a kernel on the current stream of its tensors' device, and does not wait for it.

    Args:
        name: one of KERNELS, or of CANDIDATES.
        blocks: size of the grid in blocks; a block has THREADS threads.
        shared_bytes: dynamic shared memory of a block in bytes.
        args: the kernel's arguments, with at least one tensor. A tensor is passed as its address, so the caller must check its
            type, shape and layout before. None is passed as a null pointer, an int as a C int, a float as a C float.

    Raises:
        ValueError: if the tensors are not all on the same GPU.
    """
    import cupy

    devices = {arg.device for arg in args if isinstance(arg, Tensor)}
    device = devices.pop()
    if devices or device.type != "cuda":
        raise ValueError(f"the tensors of a kernel must be on one GPU, got {', '.join(map(str, (device, *devices)))}")
    stream = torch.cuda.current_stream(device)
    with cupy.cuda.Device(device.index):
        kernel = (_load_candidates if name in CANDIDATES else _load)(device.index)[name]
        kernel(blocks, (THREADS,), tuple(map(_argument, args)), shared_mem=shared_bytes, stream=_cupy_stream(stream))


def _argument(value: Tensor | int | float | None) -> Any:
    if value is None or isinstance(value, Tensor):
        return 0 if value is None else value.data_ptr()  # 8 bytes, as CuPy passes every int of Python's
    return np.int32(value) if isinstance(value, int) else np.float32(value)


def _cupy_stream(stream: torch.cuda.Stream) -> Any:
    import cupy

    if hasattr(cupy.cuda.Stream, "from_external") and hasattr(stream, "__cuda_stream__"):  # from CuPy 14 on
        return cupy.cuda.Stream.from_external(stream)
    return cupy.cuda.ExternalStream(stream.cuda_stream, stream.device_index)


@cache
def _load(device_index: int) -> dict[str, Any]:
    """Returns CuPy's functions by kernel name; an empty dict if the kernels cannot run on the GPU."""
    if torch.version.cuda is None:  # torch for another maker's GPUs
        return {}
    kernels = kernels_or_problem(device_index)
    if isinstance(kernels, Problem):
        _warn(f"CuPy {kernels.reason}, so the slower operator of torchvision runs: {kernels.remedy}")
        return {}
    return kernels


@cache
def kernels_or_problem(device_index: int) -> dict[str, Any] | Problem:
    """Compiles the kernels for a GPU. Returns CuPy's functions by name, or the problem if it fails. torch must be for CUDA."""
    problem = cupy_problem()
    if problem is not None:
        return problem
    import cupy

    try:
        has = capability(torch.device("cuda", device_index))
        names = [name for needed, names in KERNELS.items() if has >= needed for name in names]
        return _compile(cupy, device_index, names)
    except Exception as error:
        return Problem(f"cannot compile the kernels ({first_line(error)})", install_line())


@cache
def _load_candidates(device_index: int) -> dict[str, Any]:
    """Returns CuPy's functions of CANDIDATES by name."""
    import cupy

    return _compile(cupy, device_index, CANDIDATES, "-DCANDIDATES")


def _compile(cupy: Any, device_index: int, names: Sequence[str], *options: str) -> dict[str, Any]:
    if not cache_folder()[1]:
        os.environ.setdefault("CUPY_CACHE_IN_MEMORY", "1")
    module = cupy.RawModule(code=source(), options=(*OPTIONS, *options))
    with cupy.cuda.Device(device_index):
        return {name: module.get_function(f"vsedvr_{name}").kernel for name in names}


@cache
def _warn(message: str) -> None:
    """Logs a warning, but only once for each message."""
    logger.warning(message)
