"""The table of what self-ensemble gains: the script runs from end to end, on small clips."""

import re
from pathlib import Path

import pytest

from benchmarks.quality import ensemble
from conftest import moving_frames, random_model, write_frames
from vsedvr.model import EDVR


def test_a_row_for_every_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    models: dict[str, EDVR] = {"denoise": random_model(), "deblur": random_model()}
    monkeypatch.setattr(ensemble, "load_model", models.__getitem__)
    for clip in ("vid4/GT/calendar", "deblur/GT/car", "deblur/blur/car"):
        write_frames(tmp_path / "eval" / clip, moving_frames(6, 32, 48, (1, 2)))
    table = tmp_path / "table.md"
    paths = ["--eval", str(tmp_path / "eval"), "--output", str(tmp_path / "runs"), "--table", str(table)]
    ensemble.main([*paths, "--frames", "5", "--only", "denoise", "--only", "deblur"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [(model, clip) for model, _, clip, *_ in rows] == [("denoise", "calendar"), ("deblur", "car")]
    assert rows[1][3] == "100.00", "the blurred clip of the test is the sharp one"
    for *_, alone, four, eight in rows:
        for cell in (four, eight):
            psnr, gain = map(float, re.fullmatch(r"(\S+) \((\S+)\)", cell).groups())  # type: ignore[union-attr]
            assert gain == pytest.approx(psnr - float(alone), abs=0.011)
            assert gain != 0
    text = table.read_text()
    assert "frames 2 to 2 of each" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 3
