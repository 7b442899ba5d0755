"""The command vsedvr train: what it prints, and how it ends."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import moving_frames, random_model, write_frames
from training_data import preset_of, write_training
from vsedvr.cli import main
from vsedvr.compare.metrics import MAX_PSNR
from vsedvr.data.clip import read_picture
from vsedvr.train import stills
from vsedvr.train.state import load_state, save_model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_training(tmp_path / "root")


def arguments(root: Path, output: Path, *changes: str) -> list[str]:
    command = ["train", str(root / "preset.toml"), "--root", str(root), "--output", str(output), "--device", "cpu"]
    return [*command, *(part for change in changes for part in ("--set", change))]


def test_it_tells_what_it_is_about_to_do_and_where_the_result_lies(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    write_frames(root / "clips/c", moving_frames(3, 32, 48))
    assert main([*arguments(root, output, "train.log_every=3"), "--valid", str(root / "valid")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    lines = err.splitlines()
    assert lines[0] == "device      cpu, fp32"
    assert lines[1].startswith("network     preset: ")
    assert lines[1].endswith(" parameters, x1, 3 frames a window")
    assert lines[2] == f"data        2 clips with 2 scenes, 0 stills; below {root}"
    assert lines[3] == f"validation  1 windows of {root / 'valid'}"
    assert lines[4] == "training    iterations 1 to 6, batch 2, 0 workers prepare data; saved every 1,000 iterations"
    assert lines[5] == f"output      {output}"
    assert " iteration 1/6, loss " in lines[6], "the first loss comes at once"
    assert [line.partition(" iteration ")[2][:3] for line in lines[6:-1]] == ["1/6", "3/6", "6/6", "6, "]
    weights = f"6 of 6 iterations are done; weights: {output / 'last.safetensors'}, best by validation ("
    assert lines[-1].startswith(weights)
    assert lines[-1].endswith(f" dB): {output / 'best.safetensors'}")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "1", ""])
def test_a_device_of_another_name_is_wrong_usage(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "small", "--output", str(tmp_path), "--device", name])
    assert end.value.code == 2
    assert f"argument --device: must be cpu, cuda or cuda:N, such as cuda:0, got {name!r}" in capsys.readouterr().err


def test_ctrl_c_saves_and_ends_with_130(root: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vsedvr",
        *arguments(root, tmp_path / "o", "train.iterations=1_000_000", "train.workers=1"),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " iteration " in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        lines = process.stderr.readlines()
    assert process.returncode == 130, "".join(lines)
    assert lines[-1] == "vsedvr train: stopped\n"
    assert "Traceback" not in "".join(lines)
    assert load_state(tmp_path / "o/last.pt")["iteration"] >= 1


def test_a_black_clip_for_validation_ends_nothing(root: Path, tmp_path: Path) -> None:
    """A network without biases restores black exactly, for which the formula of PSNR gives infinity."""
    write_frames(root / "valid/black", [frame * 0 for frame in moving_frames(3, 32, 48)])
    model = random_model(preset_of(root).network)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    save_model(tmp_path / "init.safetensors", model, {})
    still = ["noise.sigma=[0, 0]", "train.lr=1e-12", "train.valid_every=3"]
    command = arguments(root, tmp_path / "o", *still)
    command += ["--valid", str(root / "valid"), "--init", str(tmp_path / "init.safetensors")]
    assert main(command) == 0
    rows = [line.split(",")[-2] for line in (tmp_path / "o/log.csv").read_text().splitlines()[1:]]
    scores = [float(score) for score in rows if score]
    assert scores == [MAX_PSNR, MAX_PSNR]
    assert (tmp_path / "o/best.safetensors").exists()


@pytest.mark.parametrize(
    "error", [Image.DecompressionBombError("too large"), MemoryError(), struct.error("short"), KeyError("x")]
)
def test_a_still_that_cannot_be_read_for_any_reason_is_left_out(
    root: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "stills").mkdir()
    for name in ("good", "bad"):
        Image.fromarray(moving_frames(1, 64, 64)[0]).save(root / f"stills/{name}.png")

    def read_or_fail(path: Path) -> object:
        if path.stem == "bad":
            raise error
        return read_picture(path)

    monkeypatch.setattr(stills, "read_picture", read_or_fail)
    assert main(arguments(root, tmp_path / "o", "data.stills=['stills']", "data.gt=[]")) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert len(told) == 1, "once, however often it comes"
    assert f"{root / 'stills/bad.png'}: {type(error).__name__}" in told[0]


def test_when_nothing_can_be_read_the_training_ends(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "stills").mkdir()
    (root / "stills/bad.png").write_bytes(b"no picture")
    for workers in (0, 1):
        command = arguments(root, tmp_path / "o", "data.stills=['stills']", "data.gt=[]", f"train.workers={workers}")
        assert main(command) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert "20 clips or pictures in a row could not be used, the last: " in last
        assert str(root / "stills/bad.png") in last


def test_a_full_disk_is_told_and_tried_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an error only at the end, because somebody may make room before."""
    path = tmp_path / "o/last.pt"
    free = iter([False, True, False])

    def save(at: Path, state: dict[str, object]) -> None:
        if not next(free):
            raise OSError(28, "No space left on device", str(at))

    monkeypatch.setattr("vsedvr.train.loop.save_state", save)
    assert main(arguments(root, tmp_path / "o", "train.save_every=2")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(
        "iteration 2 is not saved; the training goes on and tries again later: [Errno 28] No space" in line for line in lines
    )
    assert lines[-1] == f"vsedvr train: {path}: No space left on device"


def test_a_validation_that_fails_loses_no_iteration(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        assert load_state(tmp_path / "o/last.pt")["iteration"] in (3, 6), "saved before"
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("vsedvr.train.validation._restore", fails)
    assert main([*arguments(root, tmp_path / "o", "train.valid_every=3"), "--valid", str(root / "valid")]) == 0
    err = capsys.readouterr().err
    assert err.count("is not validated, the training goes on: OutOfMemoryError: CUDA out of memory") == 2
    assert load_state(tmp_path / "o/last.pt")["iteration"] == 6


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals in the standard library")
def test_on_a_terminal_a_bar_runs_below_the_log(root: Path, tmp_path: Path) -> None:
    import pty

    main_end, end = pty.openpty()
    command = [sys.executable, "-m", "vsedvr", *arguments(root, tmp_path / "o")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(command, stderr=end, stdin=end, stdout=subprocess.DEVNULL, env=env)
    os.close(end)
    told = b""
    try:
        while part := os.read(main_end, 65536):
            told += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(main_end)
    assert process.wait() == 0
    for part in (b"device      cpu, fp32", b"iteration 6/6", b"0/6", b"6 of 6 iterations are done"):
        assert part in told
