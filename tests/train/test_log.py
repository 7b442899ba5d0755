"""The log of a training survives interruptions, and its failures never stop the training."""

import csv
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from vsedvr.train.log import TrainingLog
from vsedvr.train.settings import TrainConfig
from vsedvr.train.validation import Validated

CONFIG = TrainConfig(iterations=10, periods=(10,), log_every=2)
OLD_HEADER = "iteration,loss,lr,iterations_per_second,validation_psnr_y"
HEADER = f"{OLD_HEADER},validation_neighbours"
ROWS = ["2,0.5,0.0004,1.2,,", "2,,,,31.25,0.5", "4,0.25,0.0004,nan,,"]


def run(folder: Path, iteration: int = 4, to: int = 6) -> list[str]:
    """Logs some iterations and a validation; returns the lines of log.csv."""
    with TrainingLog(folder, iteration, CONFIG) as log:
        for n in range(iteration + 1, to + 1):
            log.step(n, 1 / n, 1e-4)
        log.validated(to, Validated(30.0, 0.25, [np.zeros((8, 8, 3), np.uint8)]))
    return (folder / "log.csv").read_text().splitlines() if (folder / "log.csv").is_file() else []


def test_means_over_the_iterations_between_and_rows_once(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("\n".join([HEADER, *ROWS, "5,0.1,0.1,0.1,,", "6,,,,29.0,0.5", ""]))
    lines = run(tmp_path)
    assert lines[:4] == [HEADER, *ROWS], "what came after iteration 4 is done again"
    (_, loss, lr, rate, psnr, neighbours), last = list(csv.reader(lines[4:]))
    assert float(loss) == pytest.approx((1 / 5 + 1 / 6) / 2, rel=1e-5)
    assert (lr, psnr, neighbours) == ("0.0001", "", "")
    assert float(rate) > 0
    assert last == ["6", "", "", "", "30.0000", "0.2500"]


def test_a_log_of_an_older_version_gets_the_new_column(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = ["2,0.5,0.0004,1.2,", "2,,,,31.25", "4,0.25,0.0004,nan,"]
    (tmp_path / "log.csv").write_text("\n".join([OLD_HEADER, *old, ""]))
    assert run(tmp_path)[:4] == [HEADER, *(f"{row}," for row in old)]
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_the_first_loss_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vsedvr"):
        run(tmp_path, 0, 2)
    assert caplog.messages[0] == "iteration 1/10, loss 1"
    assert caplog.messages[1].startswith("iteration 2/10, loss 0.75, ")


FOREIGN = [
    b"5,0.1,",
    b"\xff\xfe",
    b"x,y,z,a,b",
    b"<<<<<<< HEAD",
    b"4,0.1,0.1,0.1,0.1,0.1,0.1",
    b"4,0x1,,,",
    b"9" * 9000 + b",,,,",
    b"\0" * 512,
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_lines_that_are_no_rows_are_dropped_and_told(tmp_path: Path, foreign: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.csv").write_bytes("\n".join([HEADER, *ROWS, ""]).encode() + foreign)
    lines = run(tmp_path)
    assert lines[:4] == [HEADER, *ROWS]
    assert len(lines) == 6
    first = f"{foreign.decode(errors='replace')!r:.60}"
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{tmp_path / 'log.csv'}: 1 lines that are no rows of it are dropped, the first is {first}"
    ]


def test_what_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.csv").mkdir()
    (tmp_path / "tensorboard").write_text("in the way")
    run(tmp_path)
    table, board = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert table.startswith(f"the training goes on without rows in {tmp_path / 'log.csv'}: ")
    assert board.startswith(f"the training goes on without TensorBoard in {tmp_path / 'tensorboard'}: ")


def test_a_log_that_can_be_written_again_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log.csv").mkdir()
    with TrainingLog(tmp_path, 0, CONFIG) as log:
        log.step(1, 0.5, 1e-4)
        log.step(2, 0.5, 1e-4)
        (tmp_path / "log.csv").rmdir()
        log.step(3, 0.5, 1e-4)
        log.step(4, 0.5, 1e-4)
    header, row = (tmp_path / "log.csv").read_text().splitlines()
    assert header == HEADER
    assert row.startswith("4,0.5,0.0001,")


def test_tensorboard_that_fails_on_the_way_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fails)
    lines = run(tmp_path)
    assert len(lines) == 3
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"the training goes on without TensorBoard in {tmp_path / 'tensorboard'}: [Errno 28] No space left on device"
    ]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, 0, CONFIG, silent=True) as log:
        log.step(1, 0.5, 1e-4)
        log.step(2, 0.5, 1e-4)
    assert os.listdir(tmp_path) == []
