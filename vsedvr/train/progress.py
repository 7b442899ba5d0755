"""What a training tells while it runs: lines on stderr, a table of figures, and TensorBoard."""

import csv
import logging
import time
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from vsedvr.atomic import write_whole
from vsedvr.data.clip import Frame
from vsedvr.train.preset import TrainConfig
from vsedvr.train.processes import Processes

__all__ = ["Progress"]

PICTURES = 4
"""Restored frames that TensorBoard shows."""

COLUMNS = ["iteration", "loss", "lr", "iterations_per_second", "validation_psnr_y"]

logger = logging.getLogger("vsedvr")


class Progress:
    """Means over log_every iterations, with rate and time left; only the first process says anything."""

    def __init__(self, output: Path, iteration: int, config: TrainConfig, processes: Processes) -> None:
        self.config, self.silent = config, not processes.is_first
        self.since, self.began, self.losses = iteration, time.monotonic(), 0.0
        if self.silent:
            return
        path = output / "log.csv"
        _keep_rows(path, iteration)
        self.file = open(path, "a", newline="")  # noqa: SIM115 (closed by __exit__)
        self.table = csv.writer(self.file, lineterminator="\n")
        self.board = SummaryWriter(output / "tensorboard", purge_step=iteration)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.silent:
            self.file.close()
            self.board.close()

    def step(self, iteration: int, loss: float, lr: float) -> None:
        """After each iteration."""
        self.losses += loss
        if self.silent or iteration % self.config.log_every:
            return
        done = iteration - self.since
        rate = done / max(time.monotonic() - self.began, 1e-6)
        mean = self.losses / done
        left = (self.config.iterations - iteration) / rate
        logger.info("iteration %d/%d, loss %.6g, %.3g/s, %s left", iteration, self.config.iterations, mean, rate, _hours(left))
        self._write([iteration, f"{mean:.6g}", f"{lr:.4g}", f"{rate:.4g}", ""])
        self.board.add_scalar("train/loss", mean, iteration)
        self.board.add_scalar("train/lr", lr, iteration)
        self.since, self.began, self.losses = iteration, time.monotonic(), 0.0

    def validated(self, iteration: int, psnr_y: float, pictures: list[Frame]) -> None:
        """After a validation."""
        logger.info("iteration %d, validation %.3f dB (Y)", iteration, psnr_y)
        self._write([iteration, "", "", "", f"{psnr_y:.4f}"])
        self.board.add_scalar("valid/psnr_y", psnr_y, iteration)
        for n, picture in enumerate(pictures[:PICTURES]):
            self.board.add_image(f"valid/{n}", picture, iteration, dataformats="HWC")

    def _write(self, row: list[object]) -> None:
        self.table.writerow(row)
        self.file.flush()


def _keep_rows(path: Path, iteration: int) -> None:
    """Of a log, up to an iteration: what a killed run did after its last checkpoint is done, and told, again."""
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    complete = [line for line in lines if line.count(",") == len(COLUMNS) - 1]  # a kill may have cut the last one
    kept = [line for line in complete if int(line.split(",")[0]) <= iteration]
    write_whole(path, "".join(f"{line}\n" for line in [",".join(COLUMNS), *kept]))


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
