"""Steps of a training: their loss, their gradients, and which weights they change by how much."""

import csv
import logging
import math
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import spawn

from training_data import ALONE, losses_of, trainer_of, weights_of, write_training
from vsedvr.train.loss import LOSSES, charbonnier, luma_charbonnier, luma_psnr
from vsedvr.train.processes import Processes
from vsedvr.train.state import load_state

OF_LOSSES = {
    "sum": "train.loss_reduction=sum",
    "mean": "train.loss_reduction=mean",
    "luma": "train.loss=luma",
    "luma_psnr": "train.loss=luma_psnr",
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training(tmp_path_factory.mktemp("root"))


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
    coloured = trainer_of(root, tmp_path / "coloured", "train.loss=luma", "train.colour_weight=3")
    expected = luma_charbonnier(restored, gt, 1e-3, colour_weight=3).item()
    assert losses_of(coloured, stop_after=1) == [pytest.approx(expected, rel=1e-4)]


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
