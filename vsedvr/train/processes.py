"""The processes that train together, as torchrun starts them; a single one without it."""

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
"""Seconds between looks at whether the first process has done what the others wait for."""

FAILED = "failed"
"""Key under which a process that ends with an error tells the others."""


class Processes:
    """This process's place among all that train together. As a context manager it leaves the group at its end."""

    def __init__(self, rank: int, count: int, device: torch.device, store: Store | None = None) -> None:
        """
        Args:
            rank: number of this process, from 0.
            count: how many there are.
            device: what this one computes on.
            store: what they tell each other by; only where there are several.
        """
        self.rank, self.count, self.device = rank, count, device
        self.store = store
        self.tasks = 0
        """Tasks of the first process so far (see `first`)."""

    @classmethod
    def join(cls, device: torch.device | None) -> "Processes":
        """Finds this process's place by torchrun's environment and connects it to the others, by NCCL on GPUs, by gloo on CPUs.

        Args:
            device: where to compute; None is a GPU where there is one. Under torchrun each process takes the GPU of its local
                rank.

        Raises:
            ValueError: if CUDA is asked for and not there, or there are more processes than GPUs.
        """
        chosen = _choose_device(device)
        count = int(os.environ.get("WORLD_SIZE", 1))
        if count == 1:
            return cls(0, 1, chosen)
        # The functions of this module take whatever process group exists at import as their default value, and
        # DistributedDataParallel imports it. Imported now they get none; later they would keep the group alive after `leave`,
        # and its threads can abort a process that ends.
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
        """Runs a task in the first process, however long it takes, while the others wait; they get None.

        All processes must call this in the same order. The wait is no collective operation, which would time out.

        Raises:
            ConnectionError: in the others if the task fails or the first process is gone.
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
        """Leaves the group.

        Raises:
            ConnectionError: in place of an error that only says that another process is gone.
        """
        if self.store is None:
            return
        lost = isinstance(error, RuntimeError) and _is_of_connection(error)
        if error is not None:
            with contextlib.suppress(RuntimeError):  # the store may be gone as well
                self.store.set(FAILED, "")
            if self.device.type == "cuda":  # else NCCL would wait for kernels that wait for the others
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
    """Whether an error of PyTorch means that another process is gone; gloo's have no type of their own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
