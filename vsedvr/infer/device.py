"""Chooses the device and the data type that the network computes with, and sets up PyTorch while it computes."""

import logging
import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vsedvr.infer.find_gpu import why_no_gpu
from vsedvr.infer.settings import reproducible

__all__ = ["PRECISIONS", "choose_device", "choose_precision", "computing"]

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Data types that a network can compute in, by the names that users give them."""

logger = logging.getLogger("vsedvr")
_settings = threading.RLock()  # re-entrant, because loading a frame may run another engine


def choose_device(device_index: int | None) -> torch.device:
    """Finds the device that a user's number means.

    Args:
        device_index: number of a GPU from 0 up, or -1 for the CPU. None is the first GPU, or the CPU if there is no GPU.

    Raises:
        ValueError: if device_index is not a whole number, or there is no such GPU.
    """
    count = torch.cuda.device_count()
    if device_index is None:
        device_index = 0 if count else -1
    try:
        index: int | None = operator.index(device_index)
    except TypeError:
        index = None
    if index is None or isinstance(device_index, bool):
        raise ValueError(f"device_index must be the number of a GPU, -1 for the CPU, or None, got {device_index!r}")
    if index == -1:
        return torch.device("cpu")
    if not count:
        raise ValueError(f"device_index {index} asks for a GPU, but {why_no_gpu()}; -1 is the CPU")
    if not 0 <= index < count:
        raise ValueError(f"device_index must be within 0..{count - 1}, or -1 for the CPU, got {index}")
    return torch.device("cuda", index)


def choose_precision(asked: str | None, device: torch.device, exact_input: bool) -> torch.dtype:
    """Chooses the data type to compute in: the one asked for, or float32 with a warning if that is faster on the device.

    Args:
        asked: a name in PRECISIONS, or None: then fp32 on a CPU and for exact input, fp16 on a GPU for all other input.
        device: where the network runs.
        exact_input: whether the input is 32-bit float, so that users expect results of that precision.

    Raises:
        ValueError: for an unknown name.
    """
    if asked is None:
        return torch.float32 if exact_input or device.type == "cpu" else torch.float16
    if not isinstance(asked, str) or asked not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}")
    if device.type == "cpu" and asked == "fp16":
        logger.warning("precision fp16 is slower than fp32 on a CPU; computing in fp32")
        return torch.float32
    if device.type == "cpu" and asked == "bf16" and not torch.cpu._is_amx_tile_supported():
        logger.warning("precision bf16 is slower than fp32 on a processor without AMX; computing in fp32")
        return torch.float32
    return PRECISIONS[asked]


@contextmanager
def computing(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Makes GPU kernels launched inside the block give bit-identical output for equal input. On a CPU it does nothing.

    In float32, TF32 is switched off. In the other types it is on for the few convolutions that stay in float32, because its
    mantissa has the 10 bits of float16.

    PyTorch's settings belong to the whole process, so threads take turns: otherwise one would mistake another's settings
    for the user's. Launching kernels holds Python's own lock anyway; wait for their results outside of the block.
    """
    if device.type != "cuda":
        yield
        return
    with _settings, torch.cuda.device(device), reproducible(tf32=dtype != torch.float32):
        yield
