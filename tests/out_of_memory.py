"""Ways in which memory runs out, for tests."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vsedvr.infer import Engine, free_bytes

__all__ = ["ERRORS", "GPU", "can_allocate", "pretend"]

GPU = torch.device("cuda", 0)


def can_allocate(tile_area: int, error: Callable[[], Exception], engine: Engine) -> None:
    """Lets the engine's network fail from now on for tiles larger than this many pixels, as if memory ran out."""
    original = engine.model.extract

    def extract(lq: Tensor) -> Any:
        if lq.shape[2] * lq.shape[3] > tile_area:
            raise error()
        return original(lq)

    engine.model.extract = extract  # type: ignore[assignment,method-assign]


def cpu_error() -> Exception:
    """Returns the error that PyTorch raises on a CPU, from an allocation that is too large for any machine."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


ERRORS: dict[str, Callable[[], Exception]] = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuDNN": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "page-locked": lambda: RuntimeError("CUDA error: out of memory"),
    "CPU": cpu_error,
    "C++": lambda: RuntimeError("std::bad_alloc"),
    "oneDNN": lambda: RuntimeError("could not create a primitive"),
    "Python": MemoryError,
}


def pretend(monkeypatch: pytest.MonkeyPatch, free: int = 0, reserved: int = 0, allocated: int = 0) -> None:
    """Simulates the state of a GPU's memory, which engines see whatever their device."""
    monkeypatch.setattr("vsedvr.infer.warm_up.free_bytes", lambda device: free_bytes(GPU))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)
