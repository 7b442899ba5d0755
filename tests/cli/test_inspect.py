"""The command from its arguments to its files."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import moving_frames, random_model, write_frames
from vsedvr.cli import main
from vsedvr.data.clip import read_video
from vsedvr.model import EDVRConfig


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny_x4.pth"
    torch.save({"params": random_model(EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)).state_dict()}, path)
    return str(path)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moves by two pixels a frame to the right."""
    path = tmp_path_factory.mktemp("clips") / "clip"
    write_frames(path, moving_frames(10, 64, 96, (0, 2)))
    return path


def test_a_range_gives_sheets_clips_and_numbers(
    tmp_path: Path, clip: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(clip), "--model", checkpoint, "--frame", "3-5", "--output", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    clips = ["attention", "features_after", "features_before", "flow_after", "flow_before"]
    expected = [*(f"{name}.mkv" for name in clips), "lengths.csv", *(f"sheet_{n}.png" for n in (3, 4, 5))]
    assert names == sorted(expected)
    for name in clips:
        assert np.stack(list(read_video(tmp_path / f"{name}.mkv"))).shape == (3, 64, 5 * 96, 3)
    rows = list(csv.DictReader((tmp_path / "lengths.csv").read_text().splitlines()))
    assert [(int(row["frame"]), int(row["neighbour"])) for row in rows] == [(n, k) for n in (3, 4, 5) for k in range(-2, 3)]
    for row in rows:
        assert int(row["neighbour_frame"]) == int(row["frame"]) + int(row["neighbour"])
        assert float(row["before"]) == pytest.approx(2 * abs(int(row["neighbour"])), rel=0.25)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["neighbour", "-2", "-1", "+0", "+1", "+2"]
    means = [np.mean([float(row["after"]) for row in rows if int(row["neighbour"]) == k]) for k in range(-2, 3)]
    np.testing.assert_allclose([float(line[2]) for line in lines[1:]], means, atol=0.0051)
    assert "frame 3 of 3" in err


def test_a_single_frame_gives_a_sheet(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last one: its window is padded with frames before it. By the embedded model."""
    assert main(["inspect", str(clip), "--frame", "9", "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lengths.csv", "sheet_9.png"]
    rows = list(csv.DictReader((tmp_path / "lengths.csv").read_text().splitlines()))
    assert [int(row["neighbour_frame"]) for row in rows] == [7, 8, 9, 6, 5]
    with Image.open(tmp_path / "sheet_9.png") as picture:
        assert picture.width == 130 + 5 * 260


def test_errors_name_what_is_wrong(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error_of(*args: str | Path) -> str:
        assert main(["inspect", *map(str, args), "--output", str(tmp_path / "out")]) == 1
        return capsys.readouterr().err

    for text in ("x", "-3", "5-3", "1-", ""):
        assert f"got '{text}'" in error_of(clip, f"--frame={text}")
    assert "has the frames 0 to 9, asked for 8-10" in error_of(clip, "--frame", "8-10")
    assert "no such file" in error_of(tmp_path / "nowhere").lower()
    assert "no checkpoint at 'missing'" in error_of(clip, "--model", "missing")
    write_frames(tmp_path / "small", moving_frames(3, 12, 40))
    assert "features of 40x12 are too small" in error_of(tmp_path / "small")
    assert list((tmp_path / "out").iterdir()) == []
