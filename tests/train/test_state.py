"""Files that a training writes can be read again, contain no code, and are never half written."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from conftest import TINY, random_model
from vsedvr import load_model
from vsedvr.model import EDVR
from vsedvr.train.state import load_state, save_model, save_state

STATE: dict[str, Any] = {
    "model": {"a": torch.arange(4)},
    "ema": {},
    "optimizer": {},
    "scaler": {},
    "iteration": 7,
    "best": float("-inf"),
    "record": {"preset": {"train": {"periods": (3, 4)}}, "data": "x"},
}


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


def test_a_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no training to resume: there is no file {tmp_path / 'last.pt'}"):
        load_state(tmp_path / "last.pt")


def test_a_damaged_state_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, STATE)
    whole = path.read_bytes()
    (tmp_path / "last.safetensors").touch()
    cuts = [whole[: len(whole) * n // 7] for n in range(7)]
    for content in (*cuts, b"no checkpoint", whole[5:], bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path} is damaged .*--init {tmp_path / 'last.safetensors'}") as caught:
            load_state(path)
        assert "\n" not in str(caught.value)


def test_a_state_of_something_else_is_named(tmp_path: Path, tiny_model: EDVR) -> None:
    path = tmp_path / "last.pt"
    lacking = {key: value for key, value in STATE.items() if key != "optimizer"}
    contents: list[Any] = [lacking, {"params": tiny_model.state_dict()}, torch.zeros(3), []]
    contents += [{**STATE, "record": 3}, {**STATE, "record": {}}]
    for content in contents:
        torch.save(content, path)
        with pytest.raises(ValueError, match=rf"{path} is not the state of a training by vsedvr"):
            load_state(path)
    save_model(path, tiny_model, {})
    with pytest.raises(ValueError, match=rf"{path} is damaged or holds more than plain data"):
        load_state(path)


def test_a_failure_while_writing_leaves_the_old_files(tmp_path: Path) -> None:
    """The size of files that the process may write is limited, which has the same effect as a full disk."""
    script = """
import resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from vsedvr.train.state import load_state, save_model, save_state
from conftest import TINY
from vsedvr.model import EDVR
folder, model = Path(sys.argv[1]), EDVR(TINY)
parts = {name: {} for name in ("ema", "optimizer", "scaler")} | {"record": {"preset": {}, "data": ""}}
save_state(folder / "last.pt", {**parts, "iteration": 1, "model": model.state_dict()})
save_model(folder / "last.safetensors", model, {})
before = {path.name: path.read_bytes() for path in folder.iterdir()}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
for write in (
    lambda: save_state(folder / "last.pt", {**parts, "iteration": 2, "model": model.state_dict()}),
    lambda: save_model(folder / "last.safetensors", model, {}),
):
    try:
        write()
    except OSError as error:
        print(error)
assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])}
    result = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, env=env, timeout=300)
    assert result.returncode == 0, result.stderr
    state, model = result.stdout.splitlines()
    assert state.endswith(f"File too large: '{tmp_path / 'last.pt'}'")
    assert model.endswith(f"File too large: '{tmp_path / 'last.safetensors'}'")


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
