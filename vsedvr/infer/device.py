"""Where the network runs, the type that it computes in, and the state of PyTorch while it does."""

import logging
import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vsedvr.infer.settings import reproducible

__all__ = ["PRECISIONS", "choose_device", "choose_precision", "computing"]

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""The types that a network can compute in, by the names that users give."""

logger = logging.getLogger("vsedvr")
_settings = threading.RLock()  # re-entrant, because loading a frame may run another engine


def choose_device(device_index: int | None) -> torch.device:
    """The device with a number.

    Args:
        device_index: number of a GPU, or -1 for the CPU. None is the first GPU, or the CPU where there is none.

    Raises:
        ValueError: if it is not a whole number, or there is no such GPU.
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
        raise ValueError(f"device_index {index} asks for a GPU, but CUDA is not available; -1 is the CPU")
    if not 0 <= index < count:
        raise ValueError(f"device_index must be within 0..{count - 1}, or -1 for the CPU, got {index}")
    return torch.device("cuda", index)


def choose_precision(asked: str | None, device: torch.device, exact_input: bool) -> torch.dtype:
    """The type to compute in: what was asked for, or float32 and a warning where that would be slower on the device.

    Args:
        asked: one of PRECISIONS, or None, which is fp32 on a CPU and for exact input, and fp16 on a GPU otherwise.
        device: where the network runs.
        exact_input: the input is 32-bit float, so whoever feeds it expects results of that precision.

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
    """Within it, kernels that are launched on a GPU give equal output for equal input, bit for bit. On a CPU it does nothing.

    In float32 no TF32 is used. In the other types it is, for the few convolutions that stay in float32: its mantissa is that
    of float16.

    PyTorch's settings belong to the whole process, so threads take turns: else one would take another's settings for the
    user's. Launching holds Python's own lock anyway; wait for results outside.
    """
    if device.type != "cuda":
        yield
        return
    with _settings, torch.cuda.device(device), reproducible(tf32=dtype != torch.float32):
        yield
