"""Workers that prepare data: if one fails, the training ends with a one-line error, and no process is left."""

import os
import signal
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import pytest
from torch import Tensor

from training_data import ALONE, preset_of, write_training
from vsedvr.train.dataset import TrainingData
from vsedvr.train.loader import open_batches
from vsedvr.train.preset import Preset


class Failing(TrainingData):
    """Training data that fails at sample 5."""

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        if k == 5:
            self.fail()
        return super().__getitem__(k)

    def fail(self) -> None:
        raise KeyError("a mistake\nof two lines")


class Killed(Failing):
    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class FullSharedMemory(Failing):
    def fail(self) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")


class Deaf(TrainingData):
    """Training data that sleeps in a sample for longer than anybody waits."""

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        if k == 5:
            signal.pause()
        return super().__getitem__(k)


def read_all(data: TrainingData, preset: Preset) -> None:
    with open_batches(data, preset.train, ALONE, 0) as batches:
        for lq, _ in batches:
            assert lq.shape == (2, 3, 3, 32, 32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_training(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Failing, r"a worker that prepares data failed: KeyError: .*a mistake"),
        (Killed, r"a worker that prepares data was ended \(SIGKILL\), for want of memory perhaps; fewer workers need"),
        (
            FullSharedMemory,
            r"too little shared memory \(/dev/shm\) for the workers; use --set train.workers=0 or a larger /dev/shm",
        ),
    ],
)
def test_a_worker_that_fails_is_told_in_one_line(root: Path, kind: type[Failing], message: str) -> None:
    preset = preset_of(root, "train.workers=2")
    data = kind(preset, root, root / "cache")
    before = set(active_children())
    with pytest.raises(ChildProcessError, match=message) as caught:
        read_all(data, preset)
    assert "\n" not in str(caught.value)
    assert set(active_children()) <= before


def test_workers_that_do_not_listen_are_ended(root: Path) -> None:
    preset = preset_of(root, "train.workers=1")
    before = set(active_children())
    with open_batches(Deaf(preset, root, root / "cache"), preset.train, ALONE, 0) as batches:
        next(batches)
        next(batches)
        assert set(active_children()) - before
    assert set(active_children()) <= before


def test_an_error_of_the_training_itself_stays_what_it_is(root: Path) -> None:
    preset = preset_of(root, "train.workers=1")
    data = TrainingData(preset, root, root / "cache")
    error = RuntimeError("CUDA error: an illegal memory access was encountered")

    def compute() -> None:
        with open_batches(data, preset.train, ALONE, 0):
            raise error

    with pytest.raises(RuntimeError) as caught:
        compute()
    assert caught.value is error


def test_without_workers_an_error_is_not_touched(root: Path) -> None:
    preset = preset_of(root)
    data = Failing(preset, root, root / "cache")
    with pytest.raises(KeyError, match="a mistake"):
        read_all(data, preset)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small /dev/shm, on Linux only")
def test_a_full_dev_shm_ends_the_command(root: Path, tmp_path: Path) -> None:
    mount = "mount -t tmpfs -o size=100k tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "vsedvr",
        "train",
        root / "preset.toml",
        "--root",
        root,
        "--output",
        tmp_path / "o",
    ]
    changes = [part for change in ("train.workers=2", "data.patch=32", "train.batch=16") for part in ("--set", change)]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *command, "--device", "cpu", *changes],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1] == (
        "vsedvr train: too little shared memory (/dev/shm) for the workers; use --set train.workers=0 or a larger /dev/shm"
    )
    assert "Traceback" not in result.stderr
