"""Reports on a training while it runs: lines on stderr, a table of values, and TensorBoard.

None of this can stop the training: if something cannot be written, there is a warning.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from vsedvr.atomic import write_whole
from vsedvr.train.settings import TrainConfig
from vsedvr.train.validation import Validated

__all__ = ["TrainingLog"]

PICTURES = 4
"""Number of restored frames that TensorBoard shows."""

COLUMNS = ["iteration", "loss", "lr", "iterations_per_second", "validation_psnr_y", "validation_neighbours"]
ROW = re.compile(r"[0-9]{1,15}(,[0-9.e+-]*|,-?inf|,nan){4,5}")
"""Pattern of a row of log.csv: the iteration, then numbers or empty cells. Older versions wrote only four of these."""

logger = logging.getLogger("vsedvr")


class TrainingLog:
    """Logs the loss of the first iteration, then means over train.log_every iterations, with speed and time left."""

    def __init__(self, output: Path, iteration: int, config: TrainConfig, silent: bool = False) -> None:
        """
        Args:
            output: folder for log.csv and tensorboard/. Rows of log.csv after this iteration are removed: a run that was killed
                wrote them after it last saved its state, so these iterations are done again.
            iteration: number of finished iterations.
            config: tells how often to log, and how many iterations there are.
            silent: whether to log nothing. Of several processes only the first one logs.
        """
        self.config, self.silent, self.first = config, silent, iteration + 1
        self.since, self.began, self.losses = iteration, time.monotonic(), 0.0
        if silent:
            return
        self.table = _Table(output / "log.csv", iteration)
        self.board = _Board(output / "tensorboard", iteration)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.silent:
            self.board.tell(lambda board: board.close())

    def step(self, iteration: int, loss: float, lr: float) -> None:
        """Counts a finished iteration; the first has number 1."""
        if self.silent:
            return
        self.losses += loss
        if iteration % self.config.log_every:
            if iteration == self.first:
                logger.info("iteration %d/%d, loss %.6g", iteration, self.config.iterations, loss)
            return
        done = iteration - self.since
        rate = done / max(time.monotonic() - self.began, 1e-6)
        mean = self.losses / done
        left = (self.config.iterations - iteration) / rate
        logger.info("iteration %d/%d, loss %.6g, %.3g/s, %s left", iteration, self.config.iterations, mean, rate, _hours(left))
        self.table.add([iteration, f"{mean:.6g}", f"{lr:.4g}", f"{rate:.4g}", "", ""])
        self.board.tell(lambda board: board.add_scalar("train/loss", mean, iteration))
        self.board.tell(lambda board: board.add_scalar("train/lr", lr, iteration))
        self.since, self.began, self.losses = iteration, time.monotonic(), 0.0

    def validated(self, iteration: int, result: Validated) -> None:
        """Logs the result of a validation, and shows restored frames."""
        logger.info(
            "iteration %d, validation %.3f dB (Y), %.3f of them by the neighbours", iteration, result.psnr_y, result.neighbours
        )
        self.table.add([iteration, "", "", "", f"{result.psnr_y:.4f}", f"{result.neighbours:.4f}"])

        def show(board: SummaryWriter) -> None:
            board.add_scalar("valid/psnr_y", result.psnr_y, iteration)
            board.add_scalar("valid/neighbours", result.neighbours, iteration)
            for n, picture in enumerate(result.pictures[:PICTURES]):
                board.add_image(f"valid/{n}", picture, iteration, dataformats="HWC")

        self.board.tell(show)


class _Table:
    """The file log.csv. It is opened for every row, so that it continues as soon as it can be written again."""

    def __init__(self, path: Path, iteration: int) -> None:
        self.path = path
        self.told = False
        self._guard(lambda: _keep_rows(path, iteration))

    def add(self, row: Sequence[object]) -> None:
        self._guard(lambda: self._append(",".join(map(str, row))))

    def _append(self, line: str) -> None:
        begun = self.path.exists()
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n" if begun else f"{','.join(COLUMNS)}\n{line}\n")

    def _guard(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self.told:
                logger.warning("the training goes on without rows in %s: %s", self.path, error)
            self.told = True


class _Board:
    """TensorBoard's log, until writing it fails."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None
        self._guard(lambda: self._open(iteration))

    def tell(self, write: Callable[[SummaryWriter], None]) -> None:
        writer = self.writer
        if writer is not None:
            self._guard(lambda: write(writer))

    def _open(self, iteration: int) -> None:
        self.writer = SummaryWriter(self.folder, purge_step=iteration)

    def _guard(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # from the system, TensorBoard, or files of other programs in its folder
            logger.warning("the training goes on without TensorBoard in %s: %s", self.folder, error)
            self.writer = None


def _keep_rows(path: Path, iteration: int) -> None:
    """Rewrites a log with its rows up to an iteration. Incomplete lines, which a killed run may leave, are removed."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    rows = [line for line in lines if ROW.fullmatch(line)]
    heads = {",".join(COLUMNS), ",".join(COLUMNS[:-1])}
    foreign = [line for line in lines if not ROW.fullmatch(line) and line not in heads]
    if foreign:
        logger.warning("%s: %d lines that are no rows of it are dropped, the first is %.60r", path, len(foreign), foreign[0])
    cells = [line.split(",") for line in rows]
    kept = [",".join([*row, ""][: len(COLUMNS)]) for row in cells if int(row[0]) <= iteration]
    write_whole(path, "".join(f"{line}\n" for line in [",".join(COLUMNS), *kept]))


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
