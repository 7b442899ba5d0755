"""The threads that compute: one for each device, whatever the number of VapourSynth's threads.

OpenMP, which torch computes with on a CPU, gives every thread that calls it a pool of threads for all cores. VapourSynth
calls filters from any thread of its own pool, so 32 cores would come to have a thousand threads.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["compute"]

_executors: dict[torch.device, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def compute[**P, T](device: torch.device, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns, or raises, that is called in the one thread for a device. Calls take turns."""
    with _lock:
        if device not in _executors:
            _executors[device] = ThreadPoolExecutor(1, thread_name_prefix=f"vsedvr-{device}")
        future = _executors[device].submit(function, *args, **kwargs)
    return future.result()


def _forget_threads() -> None:
    """Threads do not survive a fork: in the child the first call makes new ones."""
    global _lock
    _lock = threading.Lock()
    _executors.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)
