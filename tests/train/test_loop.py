"""Whole trainings, from their data to their files: what they learn, that they resume exactly, and how they stop."""

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import spawn

from conftest import moving_frames, write_frames
from training_data import ALONE, PRESET, losses_of, preset_of, trainer_of, write_training
from vsedvr import load_model
from vsedvr.cli import main
from vsedvr.data.resize import enlarge
from vsedvr.train.loop import Trainer
from vsedvr.train.loss import LOSSES, charbonnier, luma_charbonnier, luma_psnr
from vsedvr.train.processes import Processes
from vsedvr.train.state import load_state, save_state
from vsedvr.train.validation import Validation

OF_LOSSES = {
    "sum": "train.loss_reduction=sum",
    "mean": "train.loss_reduction=mean",
    "luma": "train.loss=luma",
    "luma_psnr": "train.loss=luma_psnr",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Uses one thread, because several threads make such small networks slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training(tmp_path_factory.mktemp("root"))


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("model", "ema")
        for key, value in getattr(trainer.learner, name).state_dict().items()
    }


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


def test_the_average_of_the_weights_soon_forgets_the_start(root: Path, tmp_path: Path) -> None:
    trainer = trainer_of(root, tmp_path)
    average, step = trainer.learner.model.conv_last.weight.detach().clone(), trainer.learner.step

    def follow(lq: Tensor, gt: Tensor) -> float:
        loss = step(lq, gt)
        decay = [0.1, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15][trainer.iteration - 1]
        average.copy_(decay * average + (1 - decay) * trainer.learner.model.conv_last.weight.detach())
        return loss

    trainer.learner.step = follow  # type: ignore[method-assign]
    trainer.run()
    torch.testing.assert_close(trainer.learner.ema.conv_last.weight, average)


def test_the_loss_is_the_one_that_the_preset_names(root: Path, tmp_path: Path) -> None:
    functions = {"charbonnier": charbonnier, "luma": luma_charbonnier, "luma_psnr": luma_psnr}
    assert functions.keys() == LOSSES.keys()
    trainer = trainer_of(root, tmp_path / "same")
    lq, gt = (torch.stack(batch) for batch in zip(*(trainer.data[n] for n in range(2)), strict=True))
    restored = trainer.learner.model(lq)
    for name, function in functions.items():
        named = trainer_of(root, tmp_path / name, f"train.loss={name}", "train.loss_eps=0.2")
        assert losses_of(named, stop_after=1) == [pytest.approx(function(restored, gt, 0.2).item(), rel=1e-4)], name


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


def test_steps_without_a_finite_gradient_are_skipped(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = iter([False, True, False, False, True, True, True, True])
    monkeypatch.setattr("vsedvr.train.learner.MAX_SKIPPED", 3)

    def loss(restored: Tensor, gt: Tensor, *_: object) -> Tensor:
        return (restored - gt).abs().mean() * (math.nan if next(broken) else 1)

    monkeypatch.setitem(LOSSES, "charbonnier", loss)
    trainer = trainer_of(root, tmp_path, "train.iterations=8")
    with (
        caplog.at_level(logging.WARNING, "vsedvr"),
        pytest.raises(ValueError, match=r"no finite gradient in 3 iterations up to 7: .*lower train\.lr \(now 0\.004\)"),
    ):
        trainer.run()
    assert [record.message for record in caplog.records] == [
        f"iteration {n} skipped: its gradient is not finite" for n in (2, 5, 6, 7)
    ]
    assert all(value.isfinite().all() for value in weights_of(trainer).values())


def test_fp16_does_not_go_on_for_ever_either(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsedvr.train.learner.MAX_SKIPPED", 3)
    monkeypatch.setitem(LOSSES, "charbonnier", lambda restored, gt, *_: (restored - gt).sum() * math.nan)
    with pytest.raises(ValueError, match="no finite gradient in 3 iterations"):
        trainer_of(root, tmp_path, "train.precision=fp16").run()


def test_only_the_fusion_learns_while_it_warms_up(root: Path, tmp_path: Path) -> None:
    trainer = trainer_of(root, tmp_path, "train.tsa_warmup=2")
    names = [name for name, _ in trainer.learner.model.named_parameters()]
    moved = []
    update = trainer.learner._update

    def compare() -> None:
        before = [value.detach().clone() for value in trainer.learner.model.parameters()]
        update()
        after = trainer.learner.model.parameters()
        moved.append({name for name, a, b in zip(names, before, after, strict=True) if not torch.equal(a, b)})

    trainer.learner._update = compare  # type: ignore[method-assign]
    losses_of(trainer, stop_after=3)
    for of_step in moved[:2]:
        assert of_step
        assert all(name.startswith("fusion.") for name in of_step)
    assert {name.split(".")[0] for name in moved[2]} >= {"conv_first", "pcd_align", "fusion", "reconstruction", "conv_last"}


def first_gradients(state: dict[str, Any]) -> list[Tensor]:
    """Returns Adam's first moment after one step, divided by its weight of 1 - 0.9, which is the gradient."""
    return [value["exp_avg"] / 0.1 for value in state["optimizer"]["state"].values()]


def one_step(root: Path, output: Path, *changes: str, processes: Processes = ALONE) -> list[Tensor]:
    trainer = trainer_of(root, output, "train.iterations=1", "train.batch=4", *changes, processes=processes)
    trainer.run()
    return first_gradients({"optimizer": trainer.learner.optimizer.state_dict()})


def test_body_and_offsets_have_learning_rates_of_their_own(root: Path, tmp_path: Path) -> None:
    changes = ["train.iterations=1", "train.lr=1e-3", "train.body_lr_mul=0.5", "train.dcn_lr_mul=0.2"]
    trainer = trainer_of(root, tmp_path, *changes)
    trainer.run()
    rates = {parameter: group["lr"] for group in trainer.learner.optimizer.param_groups for parameter in group["params"]}
    of_name = {name: rates[parameter] for name, parameter in trainer.learner.model.named_parameters()}
    assert len(of_name) == len(rates)
    assert of_name["conv_last.weight"] == of_name["upconv1.bias"] == 1e-3
    assert of_name["conv_first.weight"] == of_name["reconstruction.0.conv2.weight"] == 5e-4
    assert of_name["pcd_align.cas_dcnpack.conv_offset.weight"] == pytest.approx(1e-4)


def test_warming_up_needs_a_network_that_can_align(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "edvr_m_x4_reds", "--output", str(tmp_path / "out")]) == 1
    assert "give that as --init, or train everything from the start with --set train.tsa_warmup=0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_grad_clip_limits_the_norm(root: Path, tmp_path: Path) -> None:
    free = torch.cat([value.flatten() for value in one_step(root, tmp_path / "free")])
    clipped = torch.cat([value.flatten() for value in one_step(root, tmp_path / "clip", "train.grad_clip=1e-3")])
    assert free.norm() > 1e-2
    assert clipped.norm() == pytest.approx(1e-3, rel=1e-2)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), rtol=1e-3, atol=1e-6)


def logged_loss(output: Path) -> float:
    (row,) = csv.DictReader((output / "log.csv").read_text().splitlines())
    return float(row["loss"])


def of_two(rank: int, port: int, root: Path, output: Path) -> None:
    """Runs one of two processes, as torchrun starts them: with the same environment, and a store that outlives them."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    with Processes.join(torch.device("cpu")) as processes:
        for name, change in OF_LOSSES.items():
            one_step(root, output / name, change, processes=processes)
        three = trainer_of(root, output / "more", "train.iterations=3", "train.tsa_warmup=1", processes=processes)
        three.run()
        group = weakref.ref(distributed.group.WORLD)
    assert group() is None, "the group's threads go on, and abort a process that ends while they hold a tensor"


def test_two_processes_have_the_gradients_of_one(root: Path, tmp_path: Path) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    spawn(of_two, (store.port, root, tmp_path / "two"), nprocs=2)
    for name, change in OF_LOSSES.items():
        one = one_step(root, tmp_path / f"one_{name}", change)
        two = first_gradients(load_state(tmp_path / "two" / name / "last.pt"))
        scale = max(float(value.abs().max()) for value in one)
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6 * scale)
        assert logged_loss(tmp_path / "two" / name) == pytest.approx(logged_loss(tmp_path / f"one_{name}"), rel=1e-4)
    whole = trainer_of(root, tmp_path / "one_more", "train.iterations=3", "train.tsa_warmup=1")
    whole.run()
    more = load_state(tmp_path / "two/more/last.pt")
    assert more["iteration"] == 3
    for key, value in whole.learner.ema.state_dict().items():
        torch.testing.assert_close(more["ema"][key], value, rtol=1e-3, atol=1e-4)


def test_sums_have_gradients_as_many_times_larger_as_there_are_samples(root: Path, tmp_path: Path) -> None:
    mean = one_step(root, tmp_path / "mean", "train.loss_reduction=mean")
    total = one_step(root, tmp_path / "sum", "train.loss_reduction=sum")
    samples = 4 * 3 * 32 * 32
    scale = max(float(value.abs().max()) for value in total)
    for a, b in zip(mean, total, strict=True):
        torch.testing.assert_close(a * samples, b, rtol=1e-4, atol=1e-6 * scale)


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
