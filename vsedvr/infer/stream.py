"""The order in which a device does the work of one engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["Stream"]


class Stream:
    """The work of one engine on its device, in the order in which it is launched.

    On a GPU this is a CUDA stream, so that no engine waits for the work of another one. A CPU does all work at once, while it
    is launched.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.cuda = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.cuda.wait_stream(torch.cuda.current_stream(device))  # which copies the weights

    def current(self) -> AbstractContextManager[object]:
        """Context in which this thread's work on the device goes into this stream."""
        return torch.cuda.stream(self.cuda) if self.cuda else nullcontext()

    def mark(self) -> Callable[[], None]:
        """Marks the end of the work launched so far.

        Returns:
            A function that waits until the device has done this work. It may be called from any thread. The thread sleeps, so
            its core is free for others; work launched after the mark is not waited for.
        """
        if self.cuda is None:
            return _nothing_to_wait_for
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self.cuda)
        return event.synchronize


def _nothing_to_wait_for() -> None:
    """Returns at once, because a CPU has done all work when it is launched."""
