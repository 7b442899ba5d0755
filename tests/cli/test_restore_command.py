"""`vsedvr restore`: the plan, the lines of its progress, its errors."""

from pathlib import Path
from typing import Any

import pytest

from films import VFR, make_film, read_film
from vsedvr.cli import main
from vsedvr.restore.run import Status


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, sound="aac", rich=True)
    line = ["restore", str(film), str(tmp_path / "out.mp4"), "--model", str(tiny_x1), "--device", "cpu", "--tile", "32", "32"]
    assert main([*line, "--dry-run", "--segment-seconds", "0.25", "--height", "96"]) == 0
    out = capsys.readouterr().out
    for text in (
        "64x48 YUV420P8, variable rate",
        "frames:   24 of 24, 0:00:01.041",
        "128x96 yuv420p, libx264 crf=17",
        "3 streams of",
        "cpu, float32, whole frames",
        "segments: 4 of 6 to 6 frames",
        " are free",
        " frames a second, about 0:00:0",
        "note: Left out, since .mp4 takes none: attachment font.ttf",
    ):
        assert text in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "in.srt"]


def test_two_stages_and_an_ensemble_stand_in_the_plan(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = make_film(tmp_path / "in.mkv", VFR[:6])
    line = ["restore", str(film), str(tmp_path / "out.mkv"), "--model", str(tiny_x1), "--device", "cpu", "--dry-run"]
    assert main([*line, "--refine", str(tiny_x1), "--ensemble", "4"]) == 0
    assert f"model:    {tiny_x1} then {tiny_x1}, self-ensemble of 4\n" in capsys.readouterr().out
    assert main([*line, "--refine", "small"]) == 1
    assert "refine must be a model that keeps the size, it enlarges 4 times" in capsys.readouterr().err


def test_without_a_terminal_it_tells_its_progress_in_lines(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = make_film(tmp_path / "in.mkv")
    line = ["restore", str(film), str(tmp_path / "out.mkv"), "--model", str(tiny_x1), "--device", "cpu"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "reading",
        "restoring: frame 0 of 12",
        "joining: frame 12 of 12",
        f"{tmp_path / 'out.mkv'} is done",
    ]
    assert main([*line, "--quiet", "--overwrite"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(line) == 1
    assert "exists already; overwrite (--overwrite) replaces it" in capsys.readouterr().err


def test_options_reach_the_film(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR)
    words = "--codec x265 --crf 30 --preset ultrafast --pix-fmt yuv444p10le --encoder-option g=3 --start 4 --end 9 --scale 2"
    line = ["restore", str(film), str(tmp_path / "out.mkv"), "--model", str(tiny_x1), "--device", "cpu", "--matrix", "709"]
    assert main([*line, *words.split()]) == 0
    result = read_film(tmp_path / "out.mkv")
    assert (result.video["codec"], result.video["pix_fmt"], result.video["size"]) == ("hevc", "yuv444p10le", (96, 128))
    assert result.video["colour"][1] == 1
    assert [frame.key_frame for frame in result.frames] == [True, False, False, True, False]


@pytest.mark.parametrize("option", ["tune", "=film", ""])
def test_an_encoder_option_without_a_value_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["restore", "in.mkv", str(tmp_path / "out.mkv"), "--encoder-option", option]) == 1
    assert "--encoder-option must be NAME=VALUE" in capsys.readouterr().err


def test_a_note_is_printed_once_although_the_stage_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def restore_film(*args: Any) -> None:
        notes = ("Left out: a font.",)
        for stage, done in (("restoring", 0), ("waiting for a worker", 6), ("waiting for a worker", 6), ("restoring", 7)):
            args[-1](Status(stage, done, 24, notes))
        args[-1](Status("joining", 24, 24))

    monkeypatch.setattr("vsedvr.cli.restore.restore_film", restore_film)
    assert main(["restore", str(tmp_path / "in.mkv"), str(tmp_path / "out.mkv")]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "Left out: a font.",
        "restoring: frame 0 of 24",
        "waiting for a worker: frame 6 of 24",
        "restoring: frame 7 of 24",
        "joining: frame 24 of 24",
        f"{tmp_path / 'out.mkv'} is done",
    ]
