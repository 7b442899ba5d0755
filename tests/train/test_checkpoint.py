"""What a training writes can be read again, holds no code, and is never half there."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from conftest import TINY, random_model
from vsedvr import load_model
from vsedvr.model import EDVR
from vsedvr.train.checkpoint import load_state, save_model, save_state

STATE: dict[str, Any] = {"iteration": 7, "best": float("-inf"), "record": {"periods": (3, 4)}, "model": {"a": torch.arange(4)}}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save_state(tmp_path / "new/last.pt", STATE)
    state = load_state(tmp_path / "new/last.pt")
    assert torch.equal(state.pop("model")["a"], torch.arange(4))
    assert state == {key: value for key, value in STATE.items() if key != "model"}


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_state_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    torch.save({**STATE, "record": Malicious(tmp_path / "ran")}, tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "ran"), protocol=2))
    for name in ("last.pt", "plain.pt"):
        with pytest.raises(ValueError, match=rf"{name} is damaged or holds more than plain data"):
            load_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_state_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no training to resume at .*last\.pt"):
        load_state(tmp_path / "last.pt")
    save_state(tmp_path / "last.pt", STATE)
    whole = (tmp_path / "last.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.pt is damaged"):
            load_state(tmp_path / "last.pt")


def test_a_failure_while_writing_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: EDVR
) -> None:
    save_state(tmp_path / "last.pt", STATE)
    save_model(tmp_path / "last.safetensors", tiny_model, {"iteration": 1})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        save_state(tmp_path / "last.pt", {**STATE, "iteration": 8})
    with pytest.raises(OSError, match="disk full"):
        save_model(tmp_path / "last.safetensors", tiny_model, {"iteration": 2})
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_model_file_loads_as_the_same_network(tmp_path: Path, tiny_model: EDVR, dtype: torch.dtype) -> None:
    record = {"iteration": 5, "preset": {"name": "tiny"}}
    channels_last = random_model().to(memory_format=torch.channels_last)
    save_model(tmp_path / "x.safetensors", channels_last, record, dtype)
    loaded = load_model(tmp_path / "x.safetensors")
    assert loaded.config == replace(TINY, center_frame_idx=None)
    expected = tiny_model.state_dict()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected[key].to(dtype).float()), key
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["training"]) == record
        assert file.get_tensor("conv_l2_1.weight").dtype == dtype


def test_a_record_that_is_no_json_is_refused(tmp_path: Path, tiny_model: EDVR) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(tmp_path / "x.safetensors", tiny_model, {"psnr": float("inf")})
