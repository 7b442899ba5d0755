"""Loads batches of training data in worker processes, which always end with the training."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vsedvr.train.dataset import TrainingData
from vsedvr.train.processes import Processes
from vsedvr.train.settings import TrainConfig
from vsedvr.train.signals import ignore_stop_signals

__all__ = ["open_batches"]

Batch = tuple[Tensor, Tensor]
"""A batch: lq (b, t, 3, h, w) and gt (b, 3, scale * h, scale * w), float32 in [0, 1]."""

FULL = ("shared memory", "shm", "No space left on device")
"""Parts of error messages which tell that /dev/shm, where workers put their batches, is full."""

TOO_LITTLE = "too little shared memory (/dev/shm) for the workers; use --set train.workers=0 or a larger /dev/shm"


@contextlib.contextmanager
def open_batches(data: TrainingData, config: TrainConfig, processes: Processes, first: int) -> Iterator[Iterator[Batch]]:
    """Starts the workers, and gives an iterator over this process's share of every batch, on its device.

    All workers have ended when the block ends.

    Args:
        data: training samples.
        config: size of batches, and number of workers.
        processes: this process's rank among those that train together.
        first: number of the iteration to begin with, counted from 0.

    Raises:
        ChildProcessError: if a worker failed or was killed; it replaces any error in the block that follows from this. The
            message is a single line.
    """
    before = set(active_children())
    workers: set[BaseProcess] = set()
    iterator: Any = None
    try:
        iterator = iter(_loader(data, config, processes, first))
        workers = set(active_children()) - before
        yield ((lq.to(processes.device, non_blocking=True), gt.to(processes.device, non_blocking=True)) for lq, gt in iterator)
    except Exception as error:
        reason = _end_of(workers) or (_reason(error) if config.workers else None)
        if reason is None:
            raise
        raise ChildProcessError(reason) from error
    finally:
        if workers:
            iterator._shutdown_workers()  # what its own destructor does, but now
        for worker in set(active_children()) - before:  # workers that did not end; Python would wait for them at exit
            worker.kill()
            worker.join()


def _loader(data: TrainingData, config: TrainConfig, processes: Processes, first: int) -> "DataLoader[Batch]":
    share = config.batch // processes.count
    offset = processes.rank * share
    samples = (range(i * config.batch + offset, i * config.batch + offset + share) for i in range(first, config.iterations))
    return DataLoader(
        data,
        batch_sampler=samples,  # type: ignore[arg-type]  # any iterable does, and this one is not finished in memory
        num_workers=config.workers,
        pin_memory=processes.device.type == "cuda",
        worker_init_fn=_start_worker,
        # a forked process hangs in OpenCV if this one has used OpenCV's threads, as validation does for motion blur
        multiprocessing_context="spawn" if config.workers else None,
    )


def _start_worker(_: int) -> None:
    """Prepares a worker: it ignores stop signals, which the main process handles, and uses a single thread."""
    ignore_stop_signals()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _end_of(workers: Iterable[BaseProcess]) -> str | None:
    """Describes how a worker ended; None while all are running."""
    for worker in workers:
        worker.join(0.2)  # its connections break a moment before it ends
        if worker.exitcode is None:
            continue
        how = f"exit status {worker.exitcode}" if worker.exitcode >= 0 else signal.Signals(-worker.exitcode).name
        if how == "SIGBUS":
            return TOO_LITTLE
        return (
            f"a worker that prepares data was ended ({how}), for want of memory perhaps; "
            "fewer workers need less: --set train.workers=N"
        )
    return None


def _reason(error: Exception) -> str | None:
    """Describes an error of a worker in one line; None if the error is not a worker's."""
    text = str(error).strip()
    from_worker = "DataLoader worker" in text
    if any(sign in text for sign in FULL) and (from_worker or (isinstance(error, OSError) and error.filename is None)):
        return TOO_LITTLE
    if from_worker:
        return f"a worker that prepares data failed: {text.splitlines()[-1]}"  # the last line of its traceback
    return None
