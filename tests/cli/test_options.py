import argparse
from pathlib import Path
from types import ModuleType

import pytest
import torch

from conftest import random_model
from vsedvr.cli import eval as eval_command
from vsedvr.cli import inspect, train
from vsedvr.cli.options import add_engine_arguments, add_model_argument, engine_settings, load_models
from vsedvr.weights import CheckpointError


def parsed(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_argument(parser, repeatable=True)
    add_engine_arguments(parser)
    return parser.parse_args(args)


def test_the_defaults_are_those_of_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is fp32 on a CPU and fp16 on a GPU, as in the filter."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert engine_settings(parsed()) == (torch.device("cpu"), torch.float32)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert engine_settings(parsed()) == (torch.device("cuda", 0), torch.float16)
    assert engine_settings(parsed("--precision", "fp32")) == (torch.device("cuda", 0), torch.float32)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (eval_command, "vid4 ~/x --gt ~/x --lq ~/x --output ~/x --save ~/x"),
        (inspect, "~/x --output ~/x"),
        (train, "small --root ~/x --output ~/x --valid ~/x --valid-lq ~/x"),
    ],
)
def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, command: ModuleType, line: str) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("USERPROFILE", "/home/anna")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    paths = [value for value in vars(parser.parse_args(line.split())).values() if isinstance(value, Path)]
    assert paths == [Path("/home/anna/x")] * line.count("~")


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_settings(parsed("--device", "cpu"))[0] == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert engine_settings(parsed("--device", "cuda"))[0] == torch.device("cuda", 0)
    assert engine_settings(parsed("--device", "cuda:1", "--precision", "fp16")) == (torch.device("cuda", 1), torch.float16)
    for name in ("gpu", "cuda:x", "cuda:-1", "1", ""):
        with pytest.raises(SystemExit):
            parsed("--device", name)
        assert f"must be cpu, cuda or cuda:N, such as cuda:0, got '{name}'" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        engine_settings(parsed("--device", "cuda:2"))


def test_models_have_short_names_where_those_differ(tmp_path: Path) -> None:
    for path in (tmp_path / "a/net.pth", tmp_path / "b/net.pth", tmp_path / "other.pth"):
        path.parent.mkdir(exist_ok=True)
        torch.save({"params": random_model().state_dict()}, path)
    paths = [str(tmp_path / name) for name in ("a/net.pth", "b/net.pth", "other.pth")]
    assert list(load_models(["small", *paths])) == ["small", "a-net", "b-net", "other"]
    with pytest.raises(ValueError, match="two models are named 'a-net'"):
        load_models([paths[0], paths[0]])
    (tmp_path / "none.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        load_models([str(tmp_path / "none.pth")])
