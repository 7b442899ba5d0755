"""Several processes: all wait for what one prepares, and if one fails, all end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import start_processes

from training_data import trainer_of, write_training
from vsedvr.train.processes import Processes


def join(rank: int, port: int) -> Processes:
    """Joins processes as torchrun does: with the same environment, and a store that outlives them."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    return Processes.join(torch.device("cpu"))


def run_two(function: Callable[..., None], folder: Path, *arguments: Any) -> list[str]:
    """Runs a function in two processes. Returns how each ended, which it wrote to a file of its own."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    folder.mkdir()
    context = start_processes(write_end, (function, store.port, folder, *arguments), nprocs=2, join=False)
    assert context is not None
    for process in context.processes:
        process.join()
    return [(folder / str(rank)).read_text() if (folder / str(rank)).exists() else "killed" for rank in (0, 1)]


def write_end(rank: int, function: Callable[..., None], port: int, folder: Path, *arguments: Any) -> None:
    try:
        with join(rank, port) as processes:
            function(processes, folder, *arguments)
        end = "well"
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
    (folder / str(rank)).write_text(end)


def prepare(processes: Processes, folder: Path) -> None:
    """The other processes find what the first has made, until it fails."""

    def make() -> str:
        (folder / "prepared").write_text("x")
        return "result"

    def fail() -> None:
        raise ValueError("no clip")

    assert processes.first(make) == ("result" if processes.is_first else None)
    assert (folder / "prepared").exists()
    processes.first(fail)


OTHER = "ConnectionError: another of the 2 processes ended with an error, so this one (rank {}) ends as well"


def test_the_first_prepares_and_when_it_fails_all_end(tmp_path: Path) -> None:
    assert run_two(prepare, tmp_path / "two") == ["ValueError: no clip", OTHER.format(1)]


def train(processes: Processes, folder: Path, root: Path, failing: int, kill: bool) -> None:
    """Trains until one process fails in its second step."""
    trainer = trainer_of(root, folder / "o", processes=processes)
    step = trainer.learner.step

    def fail(lq: torch.Tensor, gt: torch.Tensor) -> float:
        if trainer.iteration == 1 and processes.rank == failing:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("out of luck")
        return step(lq, gt)

    trainer.learner.step = fail  # type: ignore[method-assign]
    trainer.run()


@pytest.mark.parametrize(("failing", "kill"), [(0, False), (1, True)])
def test_all_end_when_one_fails_in_the_middle(tmp_path: Path, failing: int, kill: bool) -> None:
    root = write_training(tmp_path / "root")
    ends = run_two(train, tmp_path / "two", root, failing, kill)
    assert ends[failing] == ("killed" if kill else "ValueError: out of luck")
    assert ends[1 - failing] == OTHER.format(1 - failing)


def test_alone_there_is_no_group() -> None:
    with Processes.join(torch.device("cpu")) as processes:
        assert processes.first(lambda: 7) == 7
        assert not distributed.is_initialized()
