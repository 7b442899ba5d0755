"""The script that measures x2 models on real sources runs from end to end, on small clips and with untrained networks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality import real
from benchmarks.quality.sources import CASES
from conftest import TINY, moving_frames, random_model, write_frames
from vsedvr.train.state import save_model


def test_a_row_for_every_source_and_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = ("clean", "MPEG-2, q 4", "MPEG-2, q 8")
    monkeypatch.setattr(real, "CASES", {case: CASES[case] for case in cases})
    monkeypatch.setattr(real, "CLIPS", real.CLIPS[1:3])
    for clip, (height, width) in zip(real.CLIPS, ((32, 48), (48, 32)), strict=True):
        write_frames(tmp_path / "eval" / clip, moving_frames(3, height, width))
    for name in real.MODELS:
        model = random_model(dataclasses.replace(TINY, scale=1 if name == "compression" else 2))
        save_model(tmp_path / f"{name}.safetensors", model, {})
    real.main(
        [
            *("--eval", str(tmp_path / "eval"), "--output", str(tmp_path / "runs"), "--frames", "2", "--temporal"),
            *("--table", str(tmp_path / "real.md")),
            *(f"--model={name}={tmp_path / name}.safetensors" for name in real.MODELS),
        ]
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert [(case, Path(clip).stem) for case, clip, *_ in rows] == [
        (case, Path(clip).stem) for case in cases for clip in real.CLIPS
    ]
    bicubic = np.array([float(row[2]) for row in rows]).reshape(3, 2)
    assert (bicubic[0] > bicubic[1:]).all(), "clean sources are better"
    assert (bicubic[1] > bicubic[2]).all(), "MPEG-2 with a higher q is worse"
    page = (tmp_path / "real.md").read_text()
    assert "the first 2 frames of each clip" in page
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| mean")]
    assert [float(row[2]) for row in table] == pytest.approx([bicubic[0].mean(), bicubic[1:].mean()], abs=0.011)
    tof, warped = (_figures(page[page.index(beginning) :]) for beginning in ("tOF in pixels", "The warped difference"))
    assert tof.shape == (6, 4)
    assert (tof > 0).all()
    assert warped.shape == (6, 5)
    assert (warped[:2, -1] == warped[2:4, -1]).all(), "the truth is the same for every source"
    assert (warped[4:, 0] > warped[:2, 0]).all(), "MPEG-2 with grain is less steady than a clean source"


def _figures(text: str) -> NDArray[np.float64]:
    """The numbers of the first table in a text."""
    table = text.split("\n\n")[1].splitlines()[2:]
    return np.array([[float(cell) for cell in line.strip("| ").split(" | ")[2:]] for line in table])
