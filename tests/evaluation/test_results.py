"""The files of an evaluation are written as soon as a clip is finished, and after an interruption."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from conftest import MemoryClip, moving_frames
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation.pair_restorer import baseline
from vsedvr.evaluation.report import Report
from vsedvr.evaluation.results import Results
from vsedvr.evaluation.scoring import Scoring

PAIRS = [ClipPair(name, MemoryClip(moving_frames(3, 32, 48)), None, 4, 3) for name in ("a", "b", "c/d")]


def results_in(folder: Path) -> Results:
    return Results(folder, Report("set", Scoring(), "", (12, 8), [], precision="float16"))


def clips_of(folder: Path) -> list[tuple[str, str]]:
    """Returns method and clip of every score in the two files."""
    content = json.loads((folder / "results.json").read_text())
    in_json = [(method["name"], clip) for method in content["methods"] for clip in method["clips"]]
    rows = csv.DictReader((folder / "results.csv").read_text().splitlines())
    assert list(dict.fromkeys((row["method"], row["clip"]) for row in rows)) == in_json
    return in_json


def test_a_clip_is_in_the_files_when_it_is_done(tmp_path: Path) -> None:
    results = results_in(tmp_path / "out")
    there: list[int] = []

    def restore(pair: ClipPair, n: int) -> Frame:
        results._next_time = 0  # as if the files were last written long ago
        there.append(len(clips_of(tmp_path / "out")) if (tmp_path / "out/results.json").exists() else 0)
        return baseline(pair, n)

    results.measure("bicubic", restore, PAIRS)
    assert there == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert json.loads((tmp_path / "out/results.json").read_text())["precision"] == "float16"


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    results = results_in(tmp_path / "out")

    def interrupted(pair: ClipPair, n: int) -> Frame:
        if pair.name == "b":
            raise KeyboardInterrupt
        return baseline(pair, n)

    results.measure("bicubic", baseline, PAIRS)
    with pytest.raises(KeyboardInterrupt):
        results.measure("model", interrupted, PAIRS)
    assert results.write()
    assert clips_of(tmp_path / "out") == [("bicubic", "a"), ("bicubic", "b"), ("bicubic", "c/d"), ("model", "a")]
    assert sorted(path.name for path in (tmp_path / "out/details").iterdir()) == ["a.png", "b.png", "c-d.png"]
    assert (tmp_path / "out/psnr.png").stat().st_size > 0


def test_nothing_is_written_where_nothing_was_measured(tmp_path: Path) -> None:
    results = results_in(tmp_path / "out")

    def interrupted(pair: ClipPair, n: int) -> Frame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.measure("bicubic", interrupted, PAIRS)
    assert not results.write()
    assert not (tmp_path / "out").exists()


def test_thousands_of_clips_are_not_written_thousands_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    writes: list[float] = []

    def write(self: Results) -> None:
        nonlocal now
        writes.append(now)
        now += 0.5

    monkeypatch.setattr(Results, "_write_scores", write)
    monkeypatch.setattr("time.monotonic", lambda: now)
    results = results_in(tmp_path)

    def restore(pair: ClipPair, n: int) -> Frame:
        nonlocal now
        now += 1
        return baseline(pair, n)

    results.measure("bicubic", restore, PAIRS * 10)
    np.testing.assert_allclose(np.diff(writes), 0.5 + 12, err_msg="10 s after the end of the last, at the next clip's end")
