"""Whole trainings, from their data to their files: what they learn, that they resume exactly, and how they stop."""

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from conftest import moving_frames, write_frames
from training_data import PRESET, losses_of, preset_of, trainer_of, weights_of, write_training
from vsedvr import load_model
from vsedvr.cli import main
from vsedvr.data.resize import enlarge
from vsedvr.train.processes import Processes
from vsedvr.train.state import load_state, save_state
from vsedvr.train.validation import Validation

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training(tmp_path_factory.mktemp("root"))


def test_a_training_learns_its_clip(tmp_path: Path) -> None:
    text = PRESET.replace("scale = 1", "").replace("_feat = 8", "_feat = 16")
    (tmp_path / "preset.toml").write_text(text.replace('"noise"\nsigma = [50, 50]', '"blur_decimate"'))
    write_frames(tmp_path / "clips/a", moving_frames(3, 32, 32))
    trainer = trainer_of(tmp_path, tmp_path / "o", "train.iterations=250", "train.periods=[250]")
    losses = losses_of(trainer)
    assert np.mean(losses[-10:]) < 0.7 * losses[0], "from that of the enlarged input, which a fresh network returns"
    lq, gt = (torch.stack(batch) for batch in zip(*(trainer.data[n] for n in range(4)), strict=True))
    with torch.no_grad():
        restored = trainer.learner.ema(lq)
    mse, mse_of_input = ((picture - gt).square().mean() for picture in (restored, enlarge(lq[:, 1], 4)))
    assert 10 * (mse_of_input / mse).log10() > 2, "dB above bicubic"


@pytest.mark.parametrize("changes", [[], ["train.precision=bf16", "train.grad_clip=0.1", "train.workers=1"]])
def test_resuming_changes_nothing(root: Path, tmp_path: Path, changes: list[str]) -> None:
    whole = trainer_of(root, tmp_path / "whole", *changes)
    expected = losses_of(whole)
    assert len(expected) == 6
    first = trainer_of(root, tmp_path / "parts", *changes)
    losses = losses_of(first, stop_after=2)
    assert len(losses) == 2
    torch.manual_seed(99)
    second = trainer_of(root, tmp_path / "parts", *changes, "train.log_every=3", "train.save_every=7", resume=True)
    assert losses + losses_of(second) == expected
    of_whole = weights_of(whole)
    for key, value in weights_of(second).items():
        assert torch.equal(value, of_whole[key]), key
    assert not torch.equal(of_whole["model.conv_last.weight"], of_whole["ema.conv_last.weight"])


def test_resuming_another_training_is_refused(root: Path, tmp_path: Path) -> None:
    losses_of(trainer_of(root, tmp_path / "o"), stop_after=1)
    for changes, message in (
        (
            ["train.lr=1e-3", "train.seed=3"],
            r"train\.lr is 0\.004 and cannot become 0\.001; train\.seed is 0 and cannot become 3: begin a new one",
        ),
        (["data.interval=[1, 1]"], r"data\.interval is \(1,\) and cannot become \(1, 1\)"),
        (["network.num_extract_block=2"], r"network\.num_extract_block is 1 and cannot become 2"),
        (["noise.sigma=[50, 51]"], r"noise\.sigma is \(50\.0, 50\.0\) and cannot become \(50\.0, 51\.0\)"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer_of(root, tmp_path / "o", *changes, resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "preset.toml").write_text(PRESET)
    write_frames(other / "clips/a", moving_frames(4, 40, 48, (0, 1)))
    with pytest.raises(ValueError, match=r"the same data only, and files below .* changed since"):
        trainer_of(other, tmp_path / "o", resume=True)


def test_the_command_and_its_files(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    command = ["train", str(root / "preset.toml"), "--root", str(root), "--output", str(output), "--device", "cpu"]
    command += ["--valid", str(root / "valid"), "--set", "train.valid_every=2", "--set", "train.store=fp16"]
    assert main(command) == 0
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"vsedvr train: {output} holds a training already: --resume {output} goes on with it" in err

    rows = list(csv.DictReader((output / "log.csv").read_text().splitlines()))
    assert [row["iteration"] for row in rows if row["loss"]] == [str(n) for n in range(1, 7)]
    scores = {int(row["iteration"]): float(row["validation_psnr_y"]) for row in rows if row["validation_psnr_y"]}
    assert list(scores) == [2, 4, 6]
    assert any((output / "tensorboard").iterdir())
    with safe_open(output / "best.safetensors", "pt") as file:
        training = json.loads(file.metadata()["training"])
    assert training["validation_psnr_y"] == pytest.approx(max(scores.values()), abs=1e-4)
    assert scores[training["iteration"]] == max(scores.values())
    assert training["preset"]["train"]["lr"] == 4e-3
    best = load_model(output / "best.safetensors")
    preset = preset_of(root)
    value = Validation(preset, root / "valid", None, root / "cache")(best).psnr_y
    assert value == pytest.approx(max(scores.values()), abs=0.05), "but for the half precision of the file"
    load_model(output / "last.safetensors")
    assert not list(output.glob(".*"))


def test_a_log_has_every_row_once_after_a_kill(root: Path, tmp_path: Path) -> None:
    """The run resumes from its last state, which is older than the end of the log."""
    trainer_of(root, tmp_path, "train.save_every=2").run()
    whole = (tmp_path / "log.csv").read_text().splitlines()
    state = load_state(tmp_path / "last.pt")
    save_state(tmp_path / "last.pt", {**state, "iteration": 4})
    with open(tmp_path / "log.csv", "a") as log:
        log.write("7,0.0")  # cut off by the kill
    trainer = trainer_of(root, tmp_path, "train.save_every=2", resume=True)
    step = trainer.learner.step

    def look(lq: Tensor, gt: Tensor) -> float:
        assert (tmp_path / "log.csv").read_text().splitlines()[:5] == whole[:5], "there all the time"
        return step(lq, gt)

    trainer.learner.step = look  # type: ignore[method-assign]
    trainer.run()
    again = (tmp_path / "log.csv").read_text().splitlines()
    assert again[:5] == whole[:5]
    assert [line.split(",")[0] for line in again] == [line.split(",")[0] for line in whole]


def test_a_model_does_not_tell_where_files_lie(root: Path, tmp_path: Path) -> None:
    trainer_of(root, tmp_path / "first", "train.iterations=1").run()
    init = tmp_path / "first" / "last.safetensors"
    trainer_of(root, tmp_path / "second", "train.iterations=1", f"train.init={init}").run()
    with safe_open(tmp_path / "second" / "last.safetensors", "pt") as file:
        training = file.metadata()["training"]
    assert json.loads(training)["preset"]["train"]["init"] == "last.safetensors"
    assert str(tmp_path) not in training
    assert load_state(tmp_path / "second" / "last.pt")["record"]["preset"]["train"]["init"] == str(init), "resuming needs it"


def test_sigterm_to_all_of_its_processes_saves_and_ends_well(root: Path, tmp_path: Path) -> None:
    changes = ["train.iterations=1_000_000", "train.workers=1"]
    command = [
        sys.executable,
        "-m",
        "vsedvr",
        "train",
        str(root / "preset.toml"),
        "--root",
        str(root),
        "--output",
        str(tmp_path),
    ]
    command += ["--device", "cpu", *(part for change in changes for part in ("--set", change))]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " iteration " in line:
                break
        os.killpg(process.pid, signal.SIGTERM)
        lines += process.stderr.readlines()
    assert process.returncode == 0, "".join(lines)
    stopped = load_state(tmp_path / "last.pt")["iteration"]
    assert f"stopped after iteration {stopped} and saved; vsedvr train --resume {tmp_path} goes on from there" in "".join(lines)
    assert lines[-1].startswith(f"{stopped} of 1,000,000 iterations are done; weights: {tmp_path / 'last.safetensors'}")
    trainer = trainer_of(root, tmp_path, "train.iterations=1_000_000", resume=True)
    assert trainer.iteration == stopped >= 1
    assert len(losses_of(trainer, stop_after=stopped + 2)) == 2


def test_a_signal_asks_once_and_then_has_its_usual_effect(root: Path, tmp_path: Path) -> None:
    trainer = trainer_of(root, tmp_path)
    before = signal.getsignal(signal.SIGINT)
    step = trainer.learner.step

    def interrupted(lq: Tensor, gt: Tensor) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        if trainer.iteration == 1:
            assert signal.getsignal(signal.SIGINT) == before
        return step(lq, gt)

    trainer.learner.step = interrupted  # type: ignore[method-assign]
    trainer.run()
    assert trainer.iteration == 1
    assert signal.getsignal(signal.SIGINT) == before


def test_warming_up_needs_a_network_that_can_align(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "edvr_m_x4_reds", "--output", str(tmp_path / "out")]) == 1
    assert "give that as --init, or train everything from the start with --set train.tsa_warmup=0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_batch_that_does_not_divide_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.batch 2 does not divide among 3 processes"):
        trainer_of(root, tmp_path, processes=Processes(0, 3, torch.device("cpu")))


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"device cuda:3 is not there: 1 GPUs found; --device cpu trains without"):
        Processes.join(torch.device("cuda:3"))


def test_a_corrupt_frame_does_not_end_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "preset.toml").write_text(PRESET)
    for clip in ("a", "b"):
        write_frames(tmp_path / "clips" / clip, moving_frames(4, 40, 48))
    broken = tmp_path / "clips/b/00000002.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with caplog.at_level(logging.WARNING, "vsedvr"):
        losses = losses_of(trainer_of(tmp_path, tmp_path / "o"))
    assert len(losses) == 6
    assert all(math.isfinite(loss) for loss in losses)
    assert caplog.records
    assert all(str(broken) in record.message for record in caplog.records)
