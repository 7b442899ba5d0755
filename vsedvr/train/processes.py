"""Processes that train together, as torchrun starts them, or a single one without torchrun."""

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, rendezvous  # type: ignore[attr-defined]

__all__ = ["Processes"]

POLL = 0.1
"""Seconds between checks whether the first process has finished the task that the others wait for."""

FAILED = "failed"
"""Key in the store that a process sets when it ends with an error, to tell the others."""


class Processes:
    """This process among all that train together. As a context manager, it leaves the process group at the end."""

    def __init__(self, rank: int, count: int, device: torch.device, store: Store | None = None) -> None:
        """
        Args:
            rank: number of this process, from 0.
            count: number of processes.
            device: device on which this process computes.
            store: store for messages between processes; None if there is only one process.
        """
        self.rank, self.count, self.device = rank, count, device
        self.store = store
        self.tasks = 0
        """Number of tasks that `first` has run so far."""

    @classmethod
    def join(cls, device: torch.device | None) -> "Processes":
        """Reads this process's rank from torchrun's environment and connects it to the others (NCCL on GPUs, gloo on CPUs).

        Args:
            device: device to compute on; None chooses a GPU if there is one. Under torchrun each process uses the GPU of its
                local rank.

        Raises:
            ValueError: if CUDA is asked for but not available, or there are more processes than GPUs.
        """
        chosen = _choose_device(device)
        count = int(os.environ.get("WORLD_SIZE", 1))
        if count == 1:
            return cls(0, 1, chosen)
        # The functions of this module take the process group that exists at import as a default argument, and
        # DistributedDataParallel imports it. If it is imported now, there is none yet. Later they would keep the group alive
        # after `leave`, and the group's threads can abort a process at exit.
        from torch.distributed.nn import functional  # noqa: F401

        store, rank, count = next(rendezvous("env://"))
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=count)
        return cls(rank, count, chosen, PrefixStore("vsedvr", store))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def first[T](self, task: Callable[[], T]) -> T | None:
        """Runs a task in the first process, however long it takes, while the others wait.

        All processes must call this in the same order. Waiting is not a collective operation, which would time out.

        Returns:
            The task's result in the first process; None in the others.

        Raises:
            ConnectionError: in the others, if the task fails or the first process has ended.
        """
        self.tasks += 1
        if self.is_first:
            result = task()
            if self.store is not None:
                self.store.set(f"done {self.tasks}", "")
            return result
        assert self.store is not None
        while not self.store.check([f"done {self.tasks}"]):
            if self.store.check([FAILED]):
                raise ConnectionError(self._other_failed())
            time.sleep(POLL)
        return None

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves the process group.

        Raises:
            ConnectionError: if the error in the block only says that another process has ended; it replaces that error.
        """
        if self.store is None:
            return
        lost = isinstance(error, RuntimeError) and _is_of_connection(error)
        if error is not None:
            with contextlib.suppress(RuntimeError):  # the store may have ended as well
                self.store.set(FAILED, "")
            if self.device.type == "cuda":  # else NCCL would wait for kernels that wait for the other processes
                distributed.group.WORLD.abort()  # type: ignore[union-attr]
        distributed.destroy_process_group()
        if lost:
            raise ConnectionError(self._other_failed()) from error

    def _other_failed(self) -> str:
        return f"another of the {self.count} processes ended with an error, so this one (rank {self.rank}) ends as well"


def _choose_device(device: torch.device | None) -> torch.device:
    chosen = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if chosen.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", chosen.index or 0))
        if index >= torch.cuda.device_count():
            raise ValueError(
                f"device cuda:{index} is not there: {torch.cuda.device_count()} GPUs found; --device cpu trains without"
            )
        chosen = torch.device("cuda", index)
        torch.cuda.set_device(chosen)
    return chosen


def _is_of_connection(error: RuntimeError) -> bool:
    """Tells whether an error of PyTorch means that another process has ended; gloo's errors have no type of their own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
