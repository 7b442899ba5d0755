"""The script that measures the embedded models runs from end to end, on small clips and with untrained networks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import models
from benchmarks.quality.sources import CASES
from conftest import TINY, moving_frames, random_model, write_frames
from vsedvr.data.pairs import open_pair
from vsedvr.train.blur import MotionBlur
from vsedvr.train.state import save_model
from vsedvr.weights import EMBEDDED

BLURRED = ("motion blur, a whole frame interval", "motion blur, half a frame interval")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("models")
    clips = {"vid4/GT/calendar": (32, 48), "vid4/GT/walk": (48, 32), "deblur/GT/car": (32, 32), "deblur/blur/car": (32, 32)}
    for clip, (height, width) in {**clips, models.PARK_JOY: (32, 48)}.items():
        write_frames(root / "eval" / clip, moving_frames(4, height, width, (2, 0) if "/blur/" in clip else (1, 2)))
    for clip in ("calendar", "walk"):
        sharp = open_pair(clip, (root / "eval/vid4/GT" / clip, None), root, 4)
        write_frames(root / "eval/vid4/BIx4" / clip, [sharp.lq_frame(n) for n in range(4)])
    for name, scale in (("x4", 4), ("x2", 2), ("x1", 1)):
        save_model(root / f"{name}.safetensors", random_model(dataclasses.replace(TINY, scale=scale)), {})
    kinds = {"small": "x4", "x2": "x2", "real": "x2"}
    files = {name: root / f"{kinds.get(name, 'x1')}.safetensors" for name in EMBEDDED}
    paths = ["--eval", str(root / "eval"), "--output", str(root / "runs"), "--table", str(root / "models.md")]
    return [*paths, *(f"--model={name}={path}" for name, path in files.items())]


def test_a_row_for_every_model_degradation_and_clip(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    models.main([*arguments, "--frames", "2"])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    degraded = [f"H.264, crf {crf}" for crf in (20, 24, 28, 28, 32, 36)] + ["noise, sigma 25"]
    vid4 = [(what, clip) for what in ("bicubic x4", "bicubic x2", *CASES, *degraded) for clip in ("calendar", "walk")]
    assert [(what, clip) for _, what, clip, *_ in rows[: len(vid4)]] == vid4
    assert [(model, what, clip) for model, what, clip, *_ in rows[len(vid4) :]] == [
        (model, what, clip)
        for clip in ("car", Path(models.PARK_JOY).name)
        for what in BLURRED
        for model in ("deblur", "deblur_long")
    ]
    before, after, gain = (np.array([float(row[k]) for row in rows]) for k in (3, 4, 5))
    assert abs(after - before - gain).max() < 0.02
    noise = [row for row, (_, what, *_) in zip(before, rows, strict=True) if what == "noise, sigma 25"]
    assert noise == pytest.approx([20 * np.log10(255 / 25 / 0.574)] * 2, abs=0.3), "of luma: 0.574 of that in R, G and B"
    table = Path(arguments[arguments.index("--table") + 1]).read_text()
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == len(rows) + 1
    assert "the first 2 frames of each clip" in table


@pytest.mark.parametrize("test", [*models.EVAL, *models.VALID], ids=lambda test: f"{test.model}, {test.what}, {test.gt}")
def test_blur_is_as_long_as_its_row_says(test: models.Test) -> None:
    if isinstance(blur := next(iter(test.degradation), None), MotionBlur):
        assert blur.exposure == {BLURRED[0]: (1, 1), BLURRED[1]: (0.5, 0.5)}[test.what]
    else:
        assert test.what != BLURRED[1]


def test_some_models_alone(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    models.main([*arguments, "--frames", "1", "--only", "denoise"])
    assert [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()] == ["denoise"] * 2


def test_temporal_consistency_is_added_where_it_is_wanted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    table = Path(arguments[arguments.index("--table") + 1])
    models.main([*arguments, "--frames", "3", "--only", "denoise", "--temporal"])
    for line in capsys.readouterr().out.splitlines():
        tof_before, tof_restored, before, restored, truth = map(float, line.strip("| ").split(" | ")[6:])
        assert tof_before > 0
        assert tof_restored > 0
        assert before > truth + 1, "noise: 2 (25 * 0.574 / 255)^2 = 0.006"
        assert restored > truth
    heads = next(line for line in table.read_text().splitlines() if line.startswith("| model "))
    assert heads.endswith("| tOF before | tOF restored | warped before | warped restored | warped truth |")
    assert "Temporal consistency" in table.read_text()
    models.main([*arguments, "--frames", "1", "--only", "denoise", "--temporal"])
    assert all(line.endswith("| - | - | - | - | - |") for line in capsys.readouterr().out.splitlines())
    models.main([*arguments, "--frames", "1", "--only", "denoise"])
    assert "Temporal consistency" not in table.read_text()


def test_pictures_are_degraded_once(arguments: list[str]) -> None:
    models.main([*arguments, "--frames", "1", "--only", "denoise"])
    runs = Path(arguments[arguments.index("--output") + 1])
    made = {path: path.stat().st_mtime_ns for path in runs.rglob("*.png")}
    with Image.open(next(iter(made))) as picture:
        assert picture.size in {(48, 32), (32, 48)}
    models.main([*arguments, "--frames", "1", "--only", "denoise"])
    assert made == {path: path.stat().st_mtime_ns for path in runs.rglob("*.png")}


def test_clips_for_validation_have_their_mean_below(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(arguments[arguments.index("--eval") + 1])
    valid = ["--valid", str(root / "vid4/GT"), *arguments[2:], "--frames", "2"]
    models.main([*valid, "--only", "small", "--only", "deblur"])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert [row[1:3] for row in rows] == [
        [what, clip] for what in ("bicubic x4", *BLURRED) for clip in ("calendar", "walk", "mean")
    ]
    figures = np.array([[float(cell) for cell in row[3:]] for row in rows]).reshape(3, 3, 3)
    assert abs(figures[:, :2].mean(1) - figures[:, 2]).max() < 0.011
    assert figures[2, 2, 0] > figures[1, 2, 0] + 0.5, "half an exposure leaves more"
    with pytest.raises(SystemExit):
        models.main([*arguments, "--valid", str(root)])
