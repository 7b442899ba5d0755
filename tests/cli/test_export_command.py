"""`vsedvr export`: what it says and what it writes."""

import dataclasses
from pathlib import Path

import onnx
import pytest
import torch

from conftest import TINY, random_model
from vsedvr import __version__
from vsedvr.cli import main


def test_a_checkpoint_becomes_a_file_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint, out = tmp_path / "tiny.pth", tmp_path / "tiny.onnx"
    torch.save(random_model(dataclasses.replace(TINY, num_frame=3, with_tsa=False)).state_dict(), checkpoint)
    assert main(["export", str(checkpoint), str(out), "--center", "0"]) == 0
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert stderr.startswith(f"{out}: 0.")
    assert " MB; num_frame 3, center 0, scale 1, size_multiple 16; within " in stderr
    assert stderr.endswith(" of PyTorch\n")
    assert stderr.count("\n") == 1, "nothing but this line"
    said = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert (said["model"], said["vsedvr_version"], said["center"]) == ("tiny.pth", __version__, "0")
    assert (said["input"], said["padding"]) == ("window", "reflection_circle")

    content = out.read_bytes()
    assert main(["export", str(checkpoint), str(out)]) == 1
    assert capfd.readouterr().err == f"vsedvr export: {out} exists already; overwrite (--overwrite) replaces it\n"
    assert out.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smal", "out.onnx"], "no checkpoint at 'smal'; embedded models: small, "),
        (["small", "out.pth"], "the file out.pth must have a name that ends in .onnx"),
        (["small", "out.onnx", "--center", "5"], "center_frame_idx must be within 0..4, got 5"),
    ],
)
def test_errors_name_the_way_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
