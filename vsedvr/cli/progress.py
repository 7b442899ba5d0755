"""Shows the progress of a long command and the log on stderr: a bar on a terminal, otherwise a line now and then."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

__all__ = ["Progress", "show_log"]

SECONDS = 30
"""Seconds between two lines if stderr is not a terminal, such as a log file."""

SHORT = 3
"""Duration in seconds below which a finished step gets no line of its own."""


class Progress:
    """Counts steps of about equal length: `with Progress(100, "frames restored") as progress: progress.step("walk")`."""

    def __init__(self, total: int, what: str, quiet: bool = False) -> None:
        """
        Args:
            total: number of steps.
            what: what is done, such as "frames restored".
            quiet: whether to show nothing.
        """
        self.total = total
        self.what = what
        self.done = 0
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._in_lines = not quiet and not self._console.is_terminal
        self._start = self._last_line = time.monotonic()
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=self._console, redirect_stdout=False, disable=quiet or self._in_lines)
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bar.stop()
        if self._in_lines and self.done and time.monotonic() - self._start > SHORT:
            self._print_line("")

    def step(self, text: str = "") -> None:
        """Counts a finished step.

        Args:
            text: what the step was done on, such as the clip.
        """
        self.done += 1
        self._bar.update(self._task, completed=self.done, description=f"{self.what}: {text}" if text else self.what)
        if self._in_lines and time.monotonic() - self._last_line >= SECONDS and self.done < self.total:
            self._print_line(text)

    def _print_line(self, text: str) -> None:
        self._last_line = time.monotonic()
        rate = self.done / max(self._last_line - self._start, 1e-6)
        line = f"{self.what}: {self.done} of {self.total}, {_per_second(rate)}"
        if self.done < self.total:
            left = round((self.total - self.done) / rate)
            line += f", {left // 60}:{left % 60:02} left" + (f" ({text})" if text else "")
        self._console.print(line, markup=False)


def show_log() -> None:
    """Writes the package's log to stderr, above a bar, unless the log has a handler already."""
    logger = logging.getLogger("vsedvr")
    if not logger.hasHandlers():
        logger.setLevel(logging.INFO)
        logger.addHandler(_ToStderr())


class _ToStderr(logging.Handler):
    """Writes log records to the current sys.stderr, which a bar replaces by a stream that writes above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _Rate(ProgressColumn):
    """The column of the bar that shows steps per second."""

    def render(self, task: Task) -> Text:
        return Text(_per_second(task.speed) if task.speed else "", style="progress.data.speed")


def _per_second(rate: float) -> str:
    return f"{rate:.2f} a second"
