"""How far a long command is, on stderr."""

import sys
import time

__all__ = ["Progress"]


class Progress:
    """Counts steps of about equal length, with their rate and the time that is left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.monotonic()

    def step(self, what: str) -> None:
        """After a frame of what is named."""
        self.done += 1
        rate = self.done / max(time.monotonic() - self.start, 1e-6)
        left = round((self.total - self.done) / rate)
        line = f"{what}: frame {self.done} of {self.total}, {rate:.2f} a second, {left // 60}:{left % 60:02} left"
        print(f"\r{line:<78}", end="" if self.done < self.total else "\n", file=sys.stderr, flush=True)
