"""Where the network runs, the type that it computes in, and the settings of PyTorch that it computes under."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["PRECISIONS", "choose_device", "choose_precision", "computing"]

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

logger = logging.getLogger("vsedvr")
_settings = threading.RLock()  # again: a frame that is loaded may be another engine's


def choose_device(device_index: int | None) -> torch.device:
    """A GPU by its number, the CPU for -1, or for None the first GPU where there is one and the CPU elsewhere.

    Raises:
        ValueError: if there is no such GPU.
    """
    count = torch.cuda.device_count()
    if device_index is None:
        device_index = 0 if count else -1
    if device_index == -1:
        return torch.device("cpu")
    if not count:
        raise ValueError(f"device_index {device_index} asks for a GPU, but CUDA is not available; -1 is the CPU")
    if not 0 <= device_index < count:
        raise ValueError(f"device_index must be within 0..{count - 1}, or -1 for the CPU, got {device_index}")
    return torch.device("cuda", device_index)


def choose_precision(asked: str | None, device: torch.device, exact_input: bool) -> torch.dtype:
    """float32, float16 or bfloat16: what was asked for where it is of use on the device, else float32 and a warning.

    Args:
        asked: one of PRECISIONS, or None: fp32 on a CPU and for exact input, fp16 on a GPU otherwise.
        device: where the network runs.
        exact_input: the input is 32-bit float, so whoever feeds it expects results of that precision.

    Raises:
        ValueError: for an unknown name.
    """
    if asked is None:
        return torch.float32 if exact_input or device.type == "cpu" else torch.float16
    if asked not in PRECISIONS:
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
    """On a GPU, for as long as kernels are launched: settings under which equal input gives equal output, bit for bit.

    cuDNN does not race its algorithms, of which another may win next time, and takes none that adds up in varying order. A
    network in float32 gets no TF32. In the others the few float32 convolutions do: its mantissa is that of float16.

    The settings are the whole process's, other filters' too. So they come back after, and threads take turns, lest one take
    another's for the user's. Launching holds Python's own lock anyway; wait for results outside.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    conv = cudnn.conv  # type: ignore[attr-defined]
    with _settings, torch.cuda.device(device):
        # Not torch.backends.cudnn.flags(): it fails where a script has set fp32_precision
        before = cudnn.benchmark, cudnn.deterministic, conv.fp32_precision, matmul.fp32_precision
        precision = "ieee" if dtype == torch.float32 else "tf32"
        try:
            cudnn.benchmark, cudnn.deterministic = False, True
            conv.fp32_precision = matmul.fp32_precision = precision
            yield
        finally:
            cudnn.benchmark, cudnn.deterministic, conv.fp32_precision, matmul.fp32_precision = before
