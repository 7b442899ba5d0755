"""Memory that is reused for the large results of the CPU kernels, instead of asking the system for every result.

The C library returns large blocks to the system as soon as they are free. Each result would then be zeroed and mapped page by
page again, which takes a tenth of a network's time.
"""

import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

__all__ = ["Arena", "add", "empty_picture"]

LARGE = 1 << 20
"""Size in bytes of the smallest results that are put into an arena; for smaller ones the C library is fast enough."""

ALIGNMENT = 4096


class Arena:
    """One block of memory that holds results while they are in use. Parts that were never written to take no memory.

        with arena.lent():
            network(x)  # large results of PackedConv3x3 and dcn are put into the arena if there is room

    A result may outlive the `with` block and the arena itself: its memory is freed with the last tensor that shares it.
    """

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: size of the arena in bytes. Results for which there is no room get memory of their own.

        Raises:
            RuntimeError: PyTorch's, if there is not so much memory.
        """
        # By PyTorch, because NumPy asks the system for huge pages. On a virtual machine these are slow to get: without them the
        # first frame of EDVR-M at 320x192 took 3.9 s instead of 4.9 s, and later frames 1 % longer
        memory = torch.empty(max_bytes + ALIGNMENT, dtype=torch.uint8, device="cpu").numpy()
        start = -memory.ctypes.data % ALIGNMENT
        self.memory = memory[start : start + max_bytes]
        self.gaps = [(0, max_bytes)]
        """Free ranges as (begin, end) in bytes, in order, without those in `ended`."""
        self.ended: deque[tuple[int, int]] = deque()
        """Ranges that have become free since. Tensors may be freed at any time, even during `_take`, so they wait here."""
        self.lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Within the block, large results of the calling thread are put into this arena."""
        token = _lent.set(self)
        try:
            yield
        finally:
            _lent.reset(token)

    def empty(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor | None:
        """Returns a tensor (b, c, h, w), channels_last and without values, in the arena; None if there is no room."""
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
        """Reserves memory and returns where it begins; None if there is no room.

        It takes the first gap that is large enough. So results stay near the arena's beginning, and its end may never be used.
        """
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
    """Returns free ranges in order, with touching ones joined and empty ones left out."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(gaps):
        if result and result[-1][1] == begin:
            result[-1] = result[-1][0], end
        elif end > begin:
            result.append((begin, end))
    return result


_lent: ContextVar[Arena | None] = ContextVar("lent arena", default=None)


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b of two pictures of the same shape (b, c, h, w) and type; on a CPU in the arena that is lent."""
    if _lent.get() is None or a.device.type != "cpu" or torch.is_grad_enabled():
        return a + b
    batch, c, h, w = a.shape
    return torch.add(a, b, out=empty_picture((batch, c, h, w), a.dtype))


def empty_picture(shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """Returns a tensor (b, c, h, w) on the CPU, channels_last and without values; if it is large, from the lent arena."""
    arena = _lent.get()
    if arena is not None and math.prod(shape) * dtype.itemsize >= LARGE:
        out = arena.empty(shape, dtype)
        if out is not None:
            return out
    return torch.empty(shape, dtype=dtype, device="cpu", memory_format=torch.channels_last)
