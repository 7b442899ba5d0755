"""Memory for the large results of the kernels for CPUs that is used again, instead of the system's for every result anew.

The C library gives large blocks back to the system as soon as they are free. Then each result is zeroed and mapped page by
page once more: a tenth of a network's time.
"""

import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["Arena", "empty_picture"]

LARGE = 1 << 20
"""Bytes of the smallest results that come from an arena: below, the C library does well."""

ALIGNMENT = 4096


class Arena:
    """One piece of memory in which results lie while they are in use; what is not yet written to takes none.

        with arena.lent():
            network(x)  # large results of PackedConv3x3 and dcn lie in the arena, as far as there is room

    A result may outlive the block of `with`, and the arena: its memory is free again when the last tensor that shares it ends.
    """

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: size of the arena. Results that find no room get memory of their own.

        Raises:
            MemoryError: if there is not so much memory.
        """
        memory = np.empty(max_bytes + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.memory = memory[start : start + max_bytes]
        self.gaps = [(0, max_bytes)]
        """What is free, as (begin, end) in order, without those in `ended`."""
        self.ended: deque[tuple[int, int]] = deque()
        """What has become free since. Tensors end at any time, in the middle of `_take` too, so they only note it here."""
        self.lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Large results that this thread asks for meanwhile lie in the arena."""
        token = _lent.set(self)
        try:
            yield
        finally:
            _lent.reset(token)

    def empty(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor | None:
        """A tensor (b, c, h, w), channels_last, without values; None if there is no room."""
        b, c, h, w = shape
        nbytes = math.prod(shape) * dtype.itemsize
        size = nbytes + -nbytes % ALIGNMENT
        begin = self._take(size)
        if begin is None:
            return None
        block = self.memory[begin : begin + nbytes]  # the tensors that share this memory hold it
        weakref.finalize(block, self.ended.append, (begin, begin + size)).atexit = False
        return torch.from_numpy(block).view(dtype).view(b, h, w, c).permute(0, 3, 1, 2)

    def _take(self, nbytes: int) -> int | None:
        """The first gap with room: so results crowd at the arena's beginning, and its end may never be written to."""
        with self.lock:
            while self.ended:
                self.gaps.append(self.ended.popleft())
            self.gaps = joined(self.gaps)
            for k, (begin, end) in enumerate(self.gaps):
                if end - begin >= nbytes:
                    self.gaps[k] = begin + nbytes, end
                    return begin
        return None


def joined(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same gaps in order, those that touch as one, and without empty ones."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(gaps):
        if result and result[-1][1] == begin:
            result[-1] = result[-1][0], end
        elif end > begin:
            result.append((begin, end))
    return result


_lent: ContextVar[Arena | None] = ContextVar("lent arena", default=None)


def empty_picture(shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """A tensor (b, c, h, w) on the CPU, channels_last, without values; from the arena that is lent if it is large."""
    arena = _lent.get()
    if arena is not None and math.prod(shape) * dtype.itemsize >= LARGE:
        out = arena.empty(shape, dtype)
        if out is not None:
            return out
    return torch.empty(shape, dtype=dtype, device="cpu", memory_format=torch.channels_last)
