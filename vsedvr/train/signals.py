"""Handles Ctrl+C and SIGTERM: a training finishes its iteration, saves its state, and stops."""

import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["ignore_stop_signals", "on_stop_signal"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_stop_signal(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Calls `ask` at the first SIGINT or SIGTERM inside the block; a second one of the same kind has its usual effect."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def handle(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        ask(signal.Signals(number))

    for number in STOP_SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop_signals() -> None:
    """Makes this process ignore SIGINT and SIGTERM, for a worker that must go on until the training has saved its state."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
