"""Resumed trainings: from the folder alone, with allowed changes, and from states of other versions."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from conftest import moving_frames, write_frames
from training_data import losses_of, preset_of, trainer_of, write_training
from vsedvr.cli import main
from vsedvr.train.preset import parse_preset
from vsedvr.train.resume import Places, check_unchanged, recorded_places, recorded_preset
from vsedvr.train.state import load_state, save_state
from vsedvr.train.validation import Validation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_training(tmp_path / "root")


def state_of(root: Path, **record: Any) -> dict[str, Any]:
    """Makes the part of a state from which the record is read."""
    return {"record": {"preset": preset_of(root).as_dict() | record, "data": ""}}


def command(root: Path, output: Path, *others: str) -> list[str]:
    preset = [str(root / "preset.toml"), "--root", str(root), "--valid", str(root / "valid")]
    return ["train", *preset, "--output", str(output), "--device", "cpu", *others]


def psnr_of(model: Path) -> float:
    with safe_open(model, "pt") as file:
        return json.loads(file.metadata()["training"])["validation_psnr_y"]


def test_the_folder_is_all_that_resuming_needs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset's file and the network that it began from no longer exist, and the command runs in another folder."""
    donor, output, whole = tmp_path / "donor", tmp_path / "run", tmp_path / "whole"
    trainer_of(root, donor, "train.iterations=1").run()
    init = ["--init", str(donor / "last.safetensors")]
    longer = ["--set", "train.iterations=4"]
    assert main(command(root, whole, *init, *longer)) == 0
    monkeypatch.chdir(root)
    relative = ["train", "preset.toml", "--valid", "valid", "--output", str(output), "--device", "cpu"]
    assert main([*relative, *init, "--set", "train.iterations=2"]) == 0
    shutil.rmtree(donor)
    (root / "preset.toml").unlink()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--device", "cpu", *longer]) == 0
    told = capsys.readouterr().err
    assert f"validation  1 windows of {root / 'valid'}" in told
    assert "training    iterations 3 to 4, batch 2, 0 workers" in told
    a, b = (load_state(folder / "last.pt") for folder in (whole, output))
    assert a["iteration"] == b["iteration"] == 4
    for key, value in a["ema"].items():
        assert torch.equal(value, b["ema"][key]), key
    assert main(["train", "--resume", "run", "--device", "cpu"]) == 0, "it is at its end, and says so"
    assert "4 of 4 iterations are done; weights: run/last.safetensors" in capsys.readouterr().err


def test_folders_may_move(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    assert main(command(root, output, "--set", "train.iterations=2")) == 0
    root.rename(tmp_path / "moved")
    output.rename(tmp_path / "runs")
    on = ["train", "--resume", str(tmp_path / "runs"), "--device", "cpu", "--set", "train.iterations=3"]
    assert main(on) == 1
    assert str(root) in capsys.readouterr().err
    assert main([*on, "--root", str(tmp_path / "moved"), "--valid", str(tmp_path / "moved/valid")]) == 0
    assert recorded_places(load_state(tmp_path / "runs/last.pt")) == Places(tmp_path / "moved", tmp_path / "moved/valid")


def test_the_whole_command_with_resume_goes_on_too(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(root, tmp_path / "run", "--set", "train.iterations=2")) == 0
    assert main([*command(root, tmp_path / "run", "--set", "train.iterations=3"), "--resume"]) == 0
    assert load_state(tmp_path / "run/last.pt")["iteration"] == 3
    assert main([*command(root, tmp_path / "run", "--set", "train.batch=4"), "--resume"]) == 1
    assert "train.batch is 2 and cannot become 4" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "run"), "--output", str(tmp_path / "other")]) == 1
    assert f"--output is {tmp_path / 'other'}: give one folder" in capsys.readouterr().err
    assert main(["train", "--resume"]) == 1
    assert "give one folder" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "none")]) == 1
    assert f"no training to resume: there is no file {tmp_path / 'none/last.pt'}" in capsys.readouterr().err
    assert main(["train", "small"]) == 1
    assert "a new training needs a PRESET and --output FOLDER" in capsys.readouterr().err


def test_lengths_and_intervals_may_change_and_nothing_else(root: Path) -> None:
    state = state_of(root)
    lengths = ["train.iterations=9", "train.periods=[4, 5]", "train.restart_weights=[1, 0.5]", "train.store=fp16"]
    intervals = ["train.log_every=3", "train.valid_every=4", "train.save_every=5", "train.workers=2"]
    preset = recorded_preset(state, [*lengths, *intervals])
    assert (preset.train.iterations, preset.train.periods, preset.train.workers) == (9, (4, 5), 2)
    assert preset.network == preset_of(root).network
    with pytest.raises(ValueError, match=r"train\.batch is 2 and cannot become 4; train\.precision is 'fp32' and cannot"):
        recorded_preset(state, ["train.batch=4", "train.precision=bf16"])
    with pytest.raises(ValueError, match=r"train\.periods end at iteration 2, before train\.iterations 6: give train\.periods"):
        recorded_preset(state, ["train.periods=[2]"])
    with pytest.raises(ValueError, match=r"train has no bacth"):
        recorded_preset(state, ["train.bacth=4"])


def test_steps_of_one_kind_are_told_apart(root: Path) -> None:
    twice = preset_of(root).as_dict()["degradation"] * 2
    state = state_of(root, degradation=twice)
    changed = parse_preset({**state["record"]["preset"], "degradation": [twice[0], {"kind": "noise", "sigma": [1, 2]}]})
    with pytest.raises(ValueError, match=r"in a training that goes on noise 2\.sigma is \(50\.0, 50\.0\) and cannot become"):
        check_unchanged(state, changed)


def test_degradations_of_the_ground_truth_may_not_change(root: Path) -> None:
    state = state_of(root, gt_degradation=[{"kind": "grain"}])
    with pytest.raises(ValueError, match=r"in a training that goes on gt_grain\.size is \(0, 1\) and cannot become"):
        recorded_preset(state, ["gt_grain.size=[1, 2]"])


def test_a_record_of_another_version_is_read(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Settings that are missing get their defaults; unknown ones are named in a warning and left out."""
    tables = preset_of(root).as_dict()
    del tables["train"]["loss_eps"]
    del tables["data"]["contrast"]
    del tables["gt_degradation"]
    tables["train"]["momentum"] = 0.9
    tables["network"]["heads"] = 3
    tables["network"]["hr_in"] = tables["network"].pop("scale") == 1  # as older versions have it
    tables["degradation"][0]["strength"] = 1
    tables["sampler"] = {"seed": 3}
    preset = recorded_preset({"record": {"preset": tables, "data": ""}})
    assert preset == preset_of(root)
    (message,) = caplog.messages
    assert message.startswith("settings that this version of vsedvr does not know are left out: ")
    assert set(message.rpartition(": ")[2].split(", ")) == {"train.momentum", "network.heads", "noise.strength", "sampler"}


def test_a_state_of_an_older_version_goes_on(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer_of(root, tmp_path / "run", "train.iterations=2").run()
    state = load_state(tmp_path / "run/last.pt")
    for key in ("validated", "best_by", "places"):
        del state[key]
    save_state(tmp_path / "run/last.pt", state)
    on = ["train", "--resume", str(tmp_path / "run"), "--device", "cpu", "--set", "train.iterations=3"]
    assert main(on) == 1
    assert "is by an older version, which did not record where its data lies: give --root" in capsys.readouterr().err
    assert main([*on, "--root", str(root)]) == 0
    assert load_state(tmp_path / "run/last.pt")["iteration"] == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state["model"].pop("conv_last.weight"),
        lambda state: state["ema"].update({"conv_last.weight": torch.zeros(3)}),
        lambda state: state["optimizer"].pop("param_groups"),
        lambda state: state["optimizer"]["param_groups"].pop(),
        lambda state: state.update(optimizer=None),
    ],
)
def test_a_state_that_does_not_fit_itself_is_named(root: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    trainer_of(root, tmp_path, "train.iterations=1").run()
    state = load_state(tmp_path / "last.pt")
    spoil(state)
    save_state(tmp_path / "last.pt", state)
    with pytest.raises(ValueError, match="the state of the training is not whole: it does not fit its network"):
        trainer_of(root, tmp_path, resume=True)


def test_best_is_compared_within_one_validation(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a clip that is restored exactly would stay the best forever."""
    output = tmp_path / "run"
    write_frames(root / "hard/b", moving_frames(3, 32, 48, (7, 5)))
    black = [frame * 0 for frame in moving_frames(3, 32, 48)]
    write_frames(root / "black/b", black)
    preset = preset_of(root, "noise.sigma=[0, 0]")
    first = trainer_of(root, output, "train.iterations=1")
    first.validation = Validation(preset, root / "black", None, root / "cache")
    first.run()
    easy = psnr_of(output / "best.safetensors")
    second = trainer_of(root, output, "train.iterations=2", resume=True)
    second.validation = Validation(preset_of(root), root / "hard", None, root / "cache")
    with caplog.at_level(logging.WARNING, "vsedvr"):
        second.run()
    assert psnr_of(output / "best.safetensors") < easy
    assert psnr_of(output / "best_until_2.safetensors") == easy
    assert (
        "the validation is another one from here on: the best until now is kept as best_until_2.safetensors" in caplog.messages
    )
    third = trainer_of(root, output, "train.iterations=3", resume=True)
    third.validation = second.validation
    third.best += 100
    third.run()
    with safe_open(output / "best.safetensors", "pt") as file:
        assert json.loads(file.metadata()["training"])["iteration"] == 2, "of the same validation the better one stays"


def test_what_a_stop_came_before_is_validated_on_the_way_on(root: Path, tmp_path: Path) -> None:
    every = ["train.valid_every=2"]
    whole = trainer_of(root, tmp_path / "whole", *every, validate=True)
    whole.run()
    losses_of(trainer_of(root, tmp_path / "parts", *every, validate=True), stop_after=2)
    trainer_of(root, tmp_path / "parts", *every, validate=True, resume=True).run()
    rows = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    validations = [[line for line in lines if line.split(",")[1] == ""] for lines in rows]
    assert len(validations[0]) == 3
    assert validations[0] == validations[1]
    whole_best, parts_best = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts_best[key]) for key, value in whole_best.items())
