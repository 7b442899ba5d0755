"""vsedvr eval, from its arguments to its files."""

import csv
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from videos import with_noise, write_rgb

from conftest import moving_frames, random_model, write_frames
from vsedvr.cli import main
from vsedvr.compare.metrics import psnr, rgb_to_y
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair
from vsedvr.data.picture import read_picture
from vsedvr.evaluation.pair_restorer import PairRestorer
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.fixture(scope="session")
def tiny_x4(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny_x4.pth"
    torch.save({"params": random_model(X4).state_dict()}, path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_x2(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny_x2.pth"
    torch.save({"params": random_model(replace(X4, scale=2)).state_dict()}, path)
    return str(path)


@pytest.fixture(scope="session")
def vid4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes two clips in the layout of Vid4, without low quality."""
    root = tmp_path_factory.mktemp("vid4")
    write_frames(root / "GT/calendar", moving_frames(4, 48, 64))
    write_frames(root / "GT/walk", moving_frames(6, 32, 48, (-1, 2)))
    return root


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Simulates Ctrl+C in the second clip."""
    restore = PairRestorer.__call__

    def press(self: PairRestorer, pair: ClipPair, n: int) -> Frame:
        if pair.name == "walk":
            signal.raise_signal(signal.SIGINT)
        return restore(self, pair, n)

    monkeypatch.setattr(PairRestorer, "__call__", press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
    assert f"{output}: results.json" in err
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


def test_a_second_stage_and_an_ensemble(
    tmp_path: Path, vid4: Path, tiny_x4: str, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--frames", "2", "--output", str(tmp_path)]
    assert main(command) == 0
    alone = json.loads((tmp_path / "results.json").read_text())["methods"][1]
    assert main([*command, "--refine", str(tiny_x1), "--ensemble", "4"]) == 0
    content = json.loads((tmp_path / "results.json").read_text())
    both = content["methods"][1]
    assert content["title"] == "vid4, the first 2 frames, refined by tiny_x1, self-ensemble of 4"
    assert both["parameters"] > alone["parameters"]
    assert both["macs"] > 4 * alone["macs"]
    assert both["mean"] != alone["mean"]
    capsys.readouterr()
    assert "refine must be a model that keeps the size" in error_of(capsys, *command[1:], "--refine", tiny_x4)


@pytest.mark.parametrize("options", ["--frames 2", "--channel rgb", "--border 1", "--leave-out 1 0", "--padding replicate"])
def test_what_was_published_stands_only_beside_its_like(
    tmp_path: Path, vid4: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--output", str(tmp_path)]
    assert main([*command, *options.split()]) == 0
    assert "published" not in capsys.readouterr().out


def test_x2_is_measured_with_input_of_half_the_size(
    tmp_path: Path, vid4: Path, tiny_x2: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", tiny_x2, "--frames", "2", "--quiet", "--output", str(tmp_path)]
    assert main(["eval", "--gt", str(vid4 / "GT"), *options]) == 0
    table = capsys.readouterr().out
    assert "32x24" in table
    assert "bicubic" in table


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


def test_temporal_consistency_stands_below_psnr(
    tmp_path: Path, vid4: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--device", "cpu", "--output", str(tmp_path)]
    assert main(command) == 0
    without = capsys.readouterr().out
    assert main([*command, "--temporal"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(without), "with what was published"
    lines = out.removeprefix(without).splitlines()
    assert lines[1].startswith("Temporal consistency: tOF in pixels / warped difference x 1000; lower is better")
    assert lines[2].split() == ["calendar", "walk", "mean"]
    assert [line.split()[0] for line in lines[3:]] == ["bicubic", "tiny_x4", "ground"]
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    for line, method in zip(lines[3:5], ("bicubic", "tiny_x4"), strict=True):
        for column, clip in enumerate(("calendar", "walk"), 1):
            of_clip = [row for row in rows if row["method"] == method and row["clip"] == clip]
            assert of_clip[0]["tof"] == ""
            tof, warped = (np.mean([float(row[key]) for row in of_clip[1:]]) for key in ("tof", "warped_difference"))
            assert [float(cell) for cell in line.split()[column].split("/")] == pytest.approx([tof, 1000 * warped], abs=6e-4)


def test_temporal_consistency_of_files_of_ones_own(tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Videos with a cut, at the truth's size; the input is the truth itself."""
    frames = [*moving_frames(6, 32, 40), *(255 - frame for frame in moving_frames(6, 32, 40, (2, 0)))]
    path = write_rgb(tmp_path / "film.mkv", frames, "ffv1", {"g": "4"}, "bgr0")
    command = ["eval", "--gt", str(path), "--lq", str(path), "--model", str(tiny_x1), "--temporal", "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["input", "tiny_x1", "ground"]
    assert lines[-3].split()[1:] == lines[-1].split()[2:], "exact: tOF of 0, and the truth's warped difference"
    content = json.loads((tmp_path / "out/results.json").read_text())
    of_frames = content["methods"][0]["clips"]["film"]["frames"]
    assert [int(n) for n, score in of_frames.items() if "temporal" not in score] == [0, 6]


def test_temporal_consistency_needs_pictures_of_some_size(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low, output = tmp_path / "low", tmp_path / "out"
    write_frames(low, moving_frames(2, 12, 40))
    args = ("--gt", low, "--lq", low, "--model", tiny_x1, "--device", "cpu", "--output", output)
    error = error_of(capsys, *args, "--temporal")
    assert "clip low: a picture of 40x12 is too small: optical flow needs 16x16 pixels; leave out --temporal" in error
    assert not output.exists()
    assert main(["eval", *map(str, args)]) == 0


def test_errors_name_what_is_wrong(
    tmp_path: Path, vid4: Path, tiny_x1: Path, tiny_x2: str, tiny_x4: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", tmp_path / "out")
    assert "there is no data set 'vid5'; there are vid4, reds4" in error_of(capsys, "vid5", vid4)
    assert "give a data set (vid4" in error_of(capsys)
    assert "for files of your own: vsedvr eval --gt in.mp4 [--lq" in error_of(capsys, "in.mp4")
    assert f"no clip or folder of clips at {tmp_path / 'in.mp4'}" in error_of(capsys, "--gt", tmp_path / "in.mp4")
    assert "with its folder" in error_of(capsys, "vid4")
    assert "without --gt" in error_of(capsys, "vid4", vid4, "--gt", vid4)
    assert f"no folder {tmp_path / 'nowhere'}" in error_of(capsys, "vid4", tmp_path / "nowhere")
    assert "no checkpoint at 'missing.pth'" in error_of(capsys, "vid4", vid4, "--model", "missing.pth")
    assert "--frames must be at least 1, got 0" in error_of(capsys, "vid4", vid4, "--frames", "0")
    assert "--border must not be negative, got -1" in error_of(capsys, "vid4", vid4, "--border", "-1")
    assert "tile must be (width, height)" in error_of(capsys, "vid4", vid4, "--tile", "-8", "8")
    assert "tiny_x1 restores input of the output's size" in error_of(capsys, "vid4", vid4, "--model", tiny_x1)
    for_x4 = error_of(capsys, "vid4", vid4, "--model", tiny_x2)
    assert f"vid4 is for models that enlarge 4 times, not 2 times; --gt {vid4 / 'GT'} measures other models" in for_x4
    mixed = error_of(capsys, "vid4", vid4, "--model", tiny_x4, "--model", tiny_x1)
    assert "tiny_x4 enlarges 4 times, tiny_x1 1 times" in mixed
    wrong_size = ("--gt", vid4 / "GT/walk", "--lq", vid4 / "GT/walk")
    assert "48x32 does not become ground truth of 48x32" in error_of(capsys, *wrong_size, *output)
    wrong_count = ("--gt", vid4 / "GT/walk", "--lq", vid4 / "GT/calendar")
    assert "6 frames in" in error_of(capsys, *wrong_count, *output)
    write_frames(tmp_path / "odd/a", [*moving_frames(2, 48, 64), np.zeros((40, 64, 3), np.uint8)])
    odd = error_of(capsys, "--gt", tmp_path / "odd", *output)
    assert f"clip a: frame 2 ({tmp_path / 'odd/a/00000002.png'}) is 64x40, the first frame is 64x48" in odd
    none_left = error_of(capsys, "vid4", vid4, "--leave-out", "2", "2", *output)
    assert "of 4 frames none is left" in none_left
    assert not (tmp_path / "out").exists(), "nothing half done"


@pytest.mark.usefixtures("interrupted")
def test_ctrl_c_keeps_the_clips_that_are_done(
    tmp_path: Path, vid4: Path, tiny_x4: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = ["eval", "vid4", str(vid4), "--model", tiny_x4, "--device", "cpu", "--output", str(output)]
    assert main([*command, "--save", str(tmp_path / "save")]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"vsedvr eval: stopped; the results so far lie in {output}"
    methods = json.loads((output / "results.json").read_text())["methods"]
    assert [(method["name"], list(method["clips"])) for method in methods] == [
        ("bicubic", ["calendar", "walk"]),
        ("tiny_x4", ["calendar"]),
    ]
    assert {row["clip"] for row in csv.DictReader((output / "results.csv").read_text().splitlines())} == {"calendar", "walk"}
    assert [path.name for path in (tmp_path / "save/tiny_x4").iterdir()] == ["calendar"], "no half clip"


def test_videos_with_damage_black_frames_and_hidden_files(
    tmp_path: Path, tiny_x1: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are in ~/clips. A black frame that is equal in both qualities gets 100 dB."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    frames = moving_frames(12, 32, 40)
    frames[6:8] = [np.zeros_like(frames[0])] * 2
    soft = [(frame // 2).astype(np.uint8) for frame in frames]
    write_rgb(tmp_path / "clips/gt/film.mkv", frames, "ffv1", {"g": "1"}, "bgr0")
    write_rgb(tmp_path / "whole.mkv", soft, "ffv1", {"g": "1"}, "bgr0")
    (tmp_path / "clips/lq").mkdir()
    with_noise(tmp_path / "whole.mkv", tmp_path / "clips/lq/film.mkv", [3])
    for folder in ("gt", "lq"):
        (tmp_path / f"clips/{folder}/._film.mkv").write_bytes(b"\0\5\x16\7")
        (tmp_path / f"clips/{folder}/._film2.mkv").write_bytes(b"\0\5\x16\7" if folder == "gt" else b"")
    command = ["eval", "--gt", "~/clips/gt", "--lq", "~/clips/lq", "--model", str(tiny_x1), "--quiet"]
    assert main([*command, "--channel", "rgb", "--output", "~/out", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "restored" not in err
    scores = json.loads((tmp_path / "out/results.json").read_text())["methods"][0]["clips"]["film"]
    left = [n for n in range(12) if n != 3]
    expected = [psnr(soft[n], frames[n]) for n in left]
    assert [score["psnr"] for score in scores["frames"].values()] == pytest.approx(expected)
    assert expected[5] == 100
    assert scores["mean"]["psnr"] == pytest.approx(np.mean(expected))
    assert f"{np.mean(expected):.2f}/" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["details", "psnr.png", "results.csv", "results.json"]
