"""Times runs that are compared with each other: on a GPU with CUDA events, on a CPU with the clock."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from vsedvr.infer.memory import is_out_of_memory

__all__ = ["Budget", "medians"]

CPU = torch.device("cpu")
MIN_SECONDS = 0.005
"""A run that is shorter than this is repeated until it has taken about as long, and the calls are timed together."""


class Budget:
    """Divides a time among the rows of a table; what one row does not use, the later rows get in addition."""

    def __init__(self, seconds: float, rows: int) -> None:
        self.end = time.monotonic() + seconds
        self.rows = rows

    def next_deadline(self) -> float:
        """Returns the time until which the next row may repeat its runs, on the clock of time.monotonic()."""
        now = time.monotonic()
        share = (self.end - now) / max(self.rows, 1)
        self.rows -= 1
        return now + share


def medians(
    runs: Mapping[str, Callable[[], object]],
    times: int,
    device: torch.device = CPU,
    deadline: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Times several runs in turn, so that a disturbance of the machine hits all of them alike.

    Args:
        runs: what is timed, by name. Each is called twice before its time counts.
        times: how often each is timed; its median is the result.
        device: where the runs compute.
        deadline: the time, on the clock of time.monotonic(), after which nothing is repeated. Each run is timed once at least.
        clock: tells the time in seconds on a CPU. time.process_time counts only the work of this process, whatever else runs.

    Returns:
        Seconds of one call by name; NaN for a run whose memory does not suffice.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    calls = {}
    for name, run in runs.items():
        _seconds(run, 1, device, clock)
        alone = _seconds(run, 1, device, clock)
        calls[name] = 1 if math.isnan(alone) else max(1, min(1000, round(MIN_SECONDS / alone)))
    for k in range(times):
        if k and time.monotonic() > deadline:
            break
        for name, run in runs.items():
            seconds[name].append(_seconds(run, calls[name], device, clock))
    return {name: math.nan if any(map(math.isnan, values)) else statistics.median(values) for name, values in seconds.items()}


def _seconds(run: Callable[[], object], calls: int, device: torch.device, clock: Callable[[], float]) -> float:
    """Returns the seconds of one call, from timing several, including CPU work in between; NaN if memory runs out."""
    try:
        return _on_gpu(run, calls) if device.type == "cuda" else _on_cpu(run, calls, clock)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    return math.nan


def _on_cpu(run: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    begin = clock()
    for _ in range(calls):
        run()
    return (clock() - begin) / calls


def _on_gpu(run: Callable[[], object], calls: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / calls
