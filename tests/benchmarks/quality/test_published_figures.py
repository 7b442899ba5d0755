"""The comparison with published figures runs from end to end, with a network of no use and small data sets."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import published
from conftest import TINY, moving_frames, random_model, write_frames
from vsedvr.cli import main as vsedvr
from vsedvr.evaluation.benchmarks import REDS4, VID4
from vsedvr.weights import ZOO
from vsedvr.weights.zoo import Figure

X4 = replace(TINY, scale=4)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vid4 in small, a part of REDS4, and a model with figures for them and for what is not there."""
    monkeypatch.setenv("VSEDVR_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "TINY.pth"
    torch.save({"params": random_model(X4).state_dict()}, path)
    figures = (
        Figure("vid4", "y", 20.0, 0.5, "a paper"),
        Figure("vid4", "rgb", 21.0, 0.6, "a page"),
        Figure("reds4", "rgb", 22.0, 0.7, "a page"),
        Figure("vimeo90k-t", "y", 23.0, 0.8, "a page"),
    )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    tiny = replace(
        ZOO["edvr_l_x4_reds"], name="tiny", file="TINY.pth", sha256=sha256, network=X4, figures=figures, padding="replicate"
    )
    monkeypatch.setitem(ZOO, "tiny", tiny)
    monkeypatch.setitem(ZOO, "absent", replace(tiny, name="absent", file="ABSENT.pth"))
    monkeypatch.setitem(ZOO, "changed", replace(tiny, name="changed", file="CHANGED.pth"))
    torch.save({"params": random_model(X4).half().state_dict()}, tmp_path / "models" / "CHANGED.pth")
    for k, clip in enumerate(VID4):
        write_frames(tmp_path / "data/vid4/GT" / clip, moving_frames(3 + k % 2, 32, 48, (k, 1)))
    for clip in REDS4[:2]:
        write_frames(tmp_path / "data/reds/train_sharp" / clip, moving_frames(2, 32, 32))
    return tmp_path / "data"


def test_ours_beside_the_published_figure(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"--model={name}" for name in ("tiny", "absent", "changed")]
    published.main(["--data", str(data), "--device", "cpu", "--quiet", *names])
    table, missing = capsys.readouterr().out.split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[:4] + row[6:] for row in rows] == [
        ["tiny", "vid4", "Y", "20.00/0.5000", "4 of 4", "a paper"],
        ["tiny", "vid4", "RGB", "21.00/0.6000", "4 of 4", "a page"],
        ["tiny", "reds4", "RGB", "22.00/0.7000", "2 of 4", "a page"],
    ]
    assert rows[2][5] == "-", "a part of the clips does not compare"
    for row in rows[:2]:
        old, ours, difference = (np.array([float(number) for number in cell.split("/")]) for cell in row[3:6])
        assert abs(ours - old - difference).max() < 0.011
    lines = missing.strip().splitlines()
    assert lines[0].startswith("missing: vimeo90k-t for tiny: there is no folder ")
    assert lines[1] == "missing: absent is not on this computer; vsedvr models get absent"
    assert "CHANGED.pth is another file: its SHA-256 begins with" in lines[2]

    options = ["--model", "tiny", "--device", "cpu", "--padding", "replicate", "--quiet", "--output", str(tmp_path / "out")]
    assert vsedvr(["eval", "vid4", str(data / "vid4"), *options]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny "))
    assert rows[0][4] == line.split()[-1], "as `vsedvr eval` measures it"
