"""A frame that has been launched on a device and is fetched later."""

from collections.abc import Callable

import torch
from torch import Tensor

from vsedvr.infer.memory import is_out_of_memory

__all__ = ["Pending"]


class Pending:
    """A frame that a device is restoring. Other frames can be launched before its result is fetched."""

    def __init__(
        self,
        picture: Tensor,
        finite: Tensor,
        wait: Callable[[], None],
        again: Callable[[RuntimeError | None], Tensor],
    ) -> None:
        """
        Args:
            picture: where the restored frame will be, on the CPU.
            finite: where the answer will be whether all numbers that the network gave are finite, on the CPU.
            wait: waits until both are there.
            again: restores the frame anew, after an error that means that memory ran out, or after None because numbers
                were not finite.
        """
        self._picture = picture
        self._finite = finite
        self._wait = wait
        self._again = again
        self._error: RuntimeError | None = None

    def wait(self) -> None:
        """Waits until the device is done, without computing anything. Errors of the device are left to `result`."""
        try:
            self._wait()
        except RuntimeError as error:
            self._error = error

    def result(self) -> Tensor:
        """Waits for the restored frame and returns it. It is restored anew if it overflowed or memory ran out.

        Returns:
            The frame, (num_out_ch, scale * h, scale * w), clamped to [0, 1], on the CPU: in float32, or in the data type of
            the network if that holds the same values. The next call returns the same tensor.

        Raises:
            MemoryError: if memory runs out even with the smallest tiles.
            RuntimeError: if the restored frame has NaN or infinity in it even in float32, or if the device fails.
        """
        self.wait()
        error, self._error = self._error, None
        if error is not None and not is_out_of_memory(error):
            raise error
        if error is not None or not self._finite:
            self._picture = self._again(error)
            self._finite, self._wait = torch.ones((), dtype=torch.bool, device="cpu"), _nothing
        return self._picture


def _nothing() -> None:
    """The frame is here, so nobody waits."""
