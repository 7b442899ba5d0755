"""Runs all computation in one thread for each device, however many threads VapourSynth has.

OpenMP, which torch uses on a CPU, gives each thread that calls it a pool of threads for all cores. VapourSynth calls filters
from any thread of its own pool, so a machine with 32 cores would end up with a thousand threads.
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
    """Calls a function in the one thread of a device. Calls for the same device wait for each other.

    Returns:
        The function's result. An exception that the function raises is raised here too.
    """
    with _lock:
        if device not in _executors:
            _executors[device] = ThreadPoolExecutor(1, thread_name_prefix=f"vsedvr-{device}")
        future = _executors[device].submit(function, *args, **kwargs)
    return future.result()


def _forget_threads() -> None:
    """Forgets all threads in the child process of a fork, because threads do not survive it. The next call makes new ones."""
    global _lock
    _lock = threading.Lock()
    _executors.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)
