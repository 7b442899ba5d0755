"""The command from its arguments to its files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import moving_frames, random_model, write_frames
from vsedvr.cli import main
from vsedvr.data.clip import read_picture
from vsedvr.evaluation.metrics import psnr, rgb_to_y
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.fixture(scope="session")
def tiny_x4(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny_x4.pth"
    torch.save({"params": random_model(X4).state_dict()}, path)
    return str(path)


@pytest.fixture(scope="session")
def vid4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips in the layout of Vid4; the low quality has to be made."""
    root = tmp_path_factory.mktemp("vid4")
    write_frames(root / "GT/calendar", moving_frames(4, 48, 64))
    write_frames(root / "GT/walk", moving_frames(6, 32, 48, (-1, 2)))
    return root


def error_of(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    capsys.readouterr()
    assert main(["eval", *map(str, args)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vsedvr eval: ")
    return err


def test_a_benchmark(tmp_path: Path, vid4: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str]) -> None:
    output, save = tmp_path / "out", tmp_path / "save"
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--model", "small", "--device", "cpu"]
    assert main([*command, "--output", str(output), "--save", str(save)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == [
        "vid4: PSNR in dB / SSIM of luma, all frames, no border left out (as BasicSR, docs/ModelZoo.md)",
        "2 of 4 clips",
    ]
    assert [line.split()[0] for line in lines[3:7]] == ["bicubic", "tiny_x4", "small", "published"]
    assert "frame 20 of 20" in err
    assert sorted(path.name for path in output.iterdir()) == ["details", "psnr.png", "results.csv", "results.json"]
    assert sorted(path.name for path in (output / "details").iterdir()) == ["calendar.png", "walk.png"]

    content = json.loads((output / "results.json").read_text())
    rows = list(csv.DictReader((output / "results.csv").read_text().splitlines()))
    assert len(rows) == 3 * (4 + 6)
    clip_means = []
    for clip, count in (("calendar", 4), ("walk", 6)):
        saved = [read_picture(save / "tiny_x4" / clip / f"{n:08}.png") for n in range(count)]
        gt = [read_picture(vid4 / "GT" / clip / f"{n:08}.png") for n in range(count)]
        of_frames = [psnr(rgb_to_y(a), rgb_to_y(b)) for a, b in zip(saved, gt, strict=True)]
        listed = [float(row["psnr"]) for row in rows if row["method"] == "tiny_x4" and row["clip"] == clip]
        np.testing.assert_allclose(listed, of_frames, atol=1e-6)
        clip_means.append(np.mean(of_frames))
    assert content["methods"][1]["mean"]["psnr"] == pytest.approx(np.mean(clip_means))
    assert f"{np.mean(clip_means):.2f}/" in lines[4].split()[-1]
    assert content["methods"][1]["name"] == "tiny_x4"
    assert content["methods"][2]["parameters"] == 1_049_235


def test_saved_frames_are_the_input_of_a_second_stage(
    tmp_path: Path, vid4: Path, tiny_x4: str, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save, output = tmp_path / "stage1", str(tmp_path / "out")
    first = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--output", output, "--save", str(save)]
    assert main(first) == 0
    second = ["eval", "vid4", str(vid4), "--lq", str(save / "tiny_x4"), "--model", str(tiny_x1), "--output"]
    table_1 = capsys.readouterr().out.splitlines()
    assert main([*second, str(tmp_path / "out2")]) == 0
    table_2 = capsys.readouterr().out.splitlines()
    assert table_2[3].split()[0] == "input"
    assert table_2[3].split()[1:] == table_1[4].split()[3:], "the second stage's input is the first one's result"
    assert "published" not in "".join(table_2)
    assert "tiny_x4/calendar exists already" in error_of(capsys, *first[1:])


@pytest.mark.parametrize("options", ["--frames 2", "--channel rgb", "--border 1", "--leave-out 1 0", "--padding replicate"])
def test_what_was_published_stands_only_beside_its_like(
    tmp_path: Path, vid4: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--output", str(tmp_path)]
    assert main([*command, *options.split()]) == 0
    assert "published" not in capsys.readouterr().out


def test_files_of_ones_own(tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = moving_frames(5, 32, 40)
    write_frames(tmp_path / "sharp", frames)
    write_frames(tmp_path / "soft", [(frame // 2 + 40).astype(np.uint8) for frame in frames])
    command = ["eval", "--gt", str(tmp_path / "sharp"), "--lq", str(tmp_path / "soft"), "--model", str(tiny_x1)]
    assert main([*command, "--frames", "3", "--channel", "rgb", "--border", "4", "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sharp, the first 3 frames: PSNR in dB / SSIM of RGB, all frames, 4 pixels of border left out"
    inside = slice(4, -4)
    expected = np.mean([psnr(frame[inside, inside] // 2 + 40, frame[inside, inside]) for frame in frames[:3]])
    assert lines[2].split()[1].startswith(f"{expected:.2f}/")
    with Image.open(tmp_path / "out/details/sharp.png") as sheet:
        assert sheet.size == (3 * 3 * 40 + 2 * 4, 3 * 32 + 24), "input, model, ground truth"


def test_errors_name_what_is_wrong(
    tmp_path: Path, vid4: Path, tiny_x1: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", tmp_path / "out")
    assert "there is no data set 'vid5'; there are vid4, reds4" in error_of(capsys, "vid5", vid4)
    assert "give a data set (vid4" in error_of(capsys)
    assert "with its folder" in error_of(capsys, "vid4")
    assert "without --gt" in error_of(capsys, "vid4", vid4, "--gt", vid4)
    assert f"no folder {tmp_path / 'nowhere'}" in error_of(capsys, "vid4", tmp_path / "nowhere")
    assert "no checkpoint at 'missing.pth'" in error_of(capsys, "vid4", vid4, "--model", "missing.pth")
    assert "--frames must be at least 1, got 0" in error_of(capsys, "vid4", vid4, "--frames", "0")
    assert "--border must not be negative, got -1" in error_of(capsys, "vid4", vid4, "--border", "-1")
    assert "tile must be (width, height)" in error_of(capsys, "vid4", vid4, "--tile", "-8", "8")
    assert "tiny_x1 restores input of the output's size" in error_of(capsys, "vid4", vid4, "--model", tiny_x1)
    mixed = error_of(capsys, "vid4", vid4, "--model", tiny_x4, "--model", tiny_x1)
    assert "tiny_x4 enlarges 4 times, tiny_x1 1 times" in mixed
    wrong_size = ("--gt", vid4 / "GT/walk", "--lq", vid4 / "GT/walk")
    assert "48x32 does not become ground truth of 48x32" in error_of(capsys, *wrong_size, *output)
    wrong_count = ("--gt", vid4 / "GT/walk", "--lq", vid4 / "GT/calendar")
    assert "6 frames in" in error_of(capsys, *wrong_count, *output)
    none_left = error_of(capsys, "vid4", vid4, "--leave-out", "2", "2", *output)
    assert "of 4 frames none is left" in none_left
    assert not any((tmp_path / "out").iterdir()), "nothing half done"
