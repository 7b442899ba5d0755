"""vsedvr inspect, from its arguments to its files."""

import csv
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from videos import write_rgb

from conftest import moving_frames, random_model, write_frames
from vsedvr import atomic
from vsedvr.cli import inspect, main
from vsedvr.data.clip import Frame
from vsedvr.data.video import VideoReading, read_video
from vsedvr.model import EDVRConfig


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny_x4.pth"
    torch.save({"params": random_model(EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)).state_dict()}, path)
    return str(path)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a clip that moves by two pixels a frame to the right."""
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
    assert f"{tmp_path}: sheet_*.png, lengths.csv, *.mkv\n" in err


def test_a_single_frame_gives_a_sheet(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last frame, whose window is padded with frames before it, is inspected with the embedded model."""
    assert main(["inspect", str(clip), "--frame", "9", "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lengths.csv", "sheet_9.png"]
    rows = list(csv.DictReader((tmp_path / "lengths.csv").read_text().splitlines()))
    assert [int(row["neighbour_frame"]) for row in rows] == [7, 8, 9, 6, 5]
    with Image.open(tmp_path / "sheet_9.png") as picture:
        assert picture.width == 130 + 5 * 260


def test_a_frame_far_inside_a_video(
    tmp_path: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A video gives the same as a folder of its frames. Only nearby frames are decoded, and nothing else is written."""
    frames = [moving_frames(10, 64, 96, (0, 2))[n % 10] for n in range(300)]
    write_frames(tmp_path / "folder", frames)
    video = write_rgb(tmp_path / "film.mkv", frames, "ffv1", {"g": "10"}, "bgr0")
    decoded = 0
    to_picture = VideoReading.rgb

    def counted(self: VideoReading, frame: av.VideoFrame) -> Frame:
        nonlocal decoded
        decoded += 1
        return to_picture(self, frame)

    monkeypatch.setattr(VideoReading, "rgb", counted)
    for clip in (tmp_path / "folder", video):
        command = ["inspect", str(clip), "--model", checkpoint, "--frame", "255", "--output", str(tmp_path / clip.stem)]
        assert main([*command, "--quiet", "--device", "cpu"]) == 0
    assert 0 < decoded < 40
    assert sorted(path.name for path in (tmp_path / "film").iterdir()) == ["lengths.csv", "sheet_255.png"]
    for name in ("lengths.csv", "sheet_255.png"):
        assert (tmp_path / "film" / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()
    assert main(["inspect", str(video), "--model", checkpoint, "--frame", "300"]) == 1
    assert "film.mkv has the frames 0 to 299, asked for 300" in capsys.readouterr().err


def test_ctrl_c_keeps_the_sheets_that_are_done(
    tmp_path: Path, clip: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(path: Path, content: bytes | str) -> None:
        if path.name == "sheet_5.png":
            signal.raise_signal(signal.SIGINT)
        write(path, content)

    write = atomic.write_whole
    monkeypatch.setattr(inspect, "write_whole", press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    output = tmp_path / "out"
    try:
        assert main(["inspect", str(clip), "--model", checkpoint, "--frame", "3-6", "--output", str(output)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.splitlines()[-1] == f"vsedvr inspect: stopped; the sheets so far lie in {output}"
    assert sorted(path.name for path in output.iterdir()) == ["lengths.csv", "sheet_3.png", "sheet_4.png"]
    rows = list(csv.DictReader((output / "lengths.csv").read_text().splitlines()))
    assert {int(row["frame"]) for row in rows} == {3, 4}


def test_errors_name_what_is_wrong(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error_of(*args: str | Path) -> str:
        assert main(["inspect", *map(str, args), "--output", str(tmp_path / "out")]) == 1
        return capsys.readouterr().err

    for text in ("x", "-3", "5-3", "1-", ""):
        assert f"got '{text}'" in error_of(clip, f"--frame={text}")
    assert "has the frames 0 to 9, asked for 8-10" in error_of(clip, "--frame", "8-10")
    assert f"there is no such file or folder: {tmp_path / 'nowhere'}" in error_of(tmp_path / "nowhere")
    assert "no checkpoint at 'missing'" in error_of(clip, "--model", "missing")
    write_frames(tmp_path / "small", moving_frames(3, 12, 40))
    assert "features of 40x12 are too small" in error_of(tmp_path / "small")
    assert not (tmp_path / "out").exists(), "nothing half done"
