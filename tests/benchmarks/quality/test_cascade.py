"""The comparison of x4 at once with two stages: equal operations, and the chain that is trained is the one that is measured."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.quality import cascade
from benchmarks.quality.trainings import mean_psnr
from conftest import write_frames
from vsedvr import EDVR
from vsedvr.data.clip import FrameFolder
from vsedvr.data.pairs import ClipPair, to_frame, to_tensor
from vsedvr.evaluation.pair_restorer import PairRestorer
from vsedvr.infer import build_engine

SMALL = ("data.patch=64", "data.reduce=1.0", "data.interval=[1]", "train.batch=1")
WAYS = sorted(cascade.WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_way_enlarges_4_times_and_takes_as_many_operations_as_the_others(way: str) -> None:
    stages = [EDVR(config) for config in cascade.WAYS[way]]
    assert np.prod([stage.config.scale for stage in stages]) == 4
    assert sum(stage.config.num_frame - 1 for stage in stages) == 4  # all see five frames
    budgets = [cascade.gmacs([EDVR(config) for config in cascade.WAYS[other]]) for other in WAYS]
    assert cascade.gmacs(stages) == pytest.approx(np.mean(budgets), rel=0.015)


def test_operations_of_a_chain_are_those_of_its_layers() -> None:
    """A block more costs its two convolutions: once where it extracts features, and at twice the size in the second stage."""
    first, second = (EDVR(config) for config in cascade.WAYS["x2 and x2 again"])
    small = cascade.HEIGHT * cascade.WIDTH
    one_block = 2 * 9 * 16 * 16 * small  # two convolutions of 3x3
    more = [EDVR(cascade.stage_config(2, 16, 3, blocks=7)), second]
    assert cascade.gmacs(more) - cascade.gmacs([first, second]) == pytest.approx(one_block / 1e9)
    more = [first, EDVR(cascade.stage_config(2, 8, 3, blocks=7))]
    assert cascade.gmacs(more) - cascade.gmacs([first, second]) == pytest.approx(one_block / 1e9)  # half the channels
    deeper = EDVR(cascade.stage_config(2, 16, 3, blocks=6))
    deeper.feature_extraction.append(deeper.feature_extraction[0])
    assert cascade.gmacs([deeper, second]) - cascade.gmacs([first, second]) == pytest.approx(one_block / 1e9)


@pytest.mark.parametrize("way", WAYS)
def test_the_chain_restores_what_its_networks_restore_one_after_the_other(way: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(5, 32, 48, 3), dtype=np.uint8)
    write_frames(tmp_path / "gt", frames.repeat(4, 1).repeat(4, 2))
    write_frames(tmp_path / "lq", frames)
    pair = ClipPair("a", FrameFolder(tmp_path / "gt"), FrameFolder(tmp_path / "lq"), 4, 5)
    stages = cascade.new_stages(way, seed=0)
    lq = torch.stack([to_tensor(frame) for frame in frames])
    with torch.no_grad():
        whole = cascade.Chain(stages).eval()(lq[None])[0]

    pictures = dict(enumerate(lq))
    for stage in stages:
        engine = build_engine(stage, torch.device("cpu"), torch.float32, tuple(pictures[2].shape[1:]))
        inner = [n for n in pictures if {n - stage.config.center, n + stage.config.center} <= pictures.keys()]
        pictures = {n: engine.restore(cascade.window_of(stage.config, n), pictures.__getitem__) for n in inner}
    assert pictures.keys() == {2}
    torch.testing.assert_close(whole.clamp(0, 1), pictures[2], atol=1e-4, rtol=0)

    restore = PairRestorer(stages[0], torch.device("cpu"), torch.float32, refine=stages[1] if stages[1:] else None)
    by_filter = np.abs(restore(pair, 2).astype(int) - to_frame(whole.clamp(0, 1)))
    assert by_filter.max() <= 1
    assert mean_psnr(restore, [pair], left_out=2) == pytest.approx(cascade.measure(stages, [pair]))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_every_way_is_trained_measured_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "WIDTH", 32)  # for less time in measuring seconds
    monkeypatch.setattr(cascade, "HEIGHT", 16)
    rng = np.random.default_rng(0)
    write_frames(tmp_path / "clips" / "a", rng.integers(256, size=(5, 64, 72, 3), dtype=np.uint8))
    write_frames(tmp_path / "test" / "b", rng.integers(256, size=(5, 50, 66, 3), dtype=np.uint8))
    (tmp_path / "stills").mkdir()
    Image.fromarray(rng.integers(256, size=(96, 96, 3), dtype=np.uint8)).save(tmp_path / "stills" / "c.png")
    paths = {"root": tmp_path, "test": f"noise={tmp_path / 'test'}", "output": tmp_path / "runs", "table": tmp_path / "t.md"}
    arguments = [f"--{name}={path}" for name, path in paths.items()]
    arguments += ["--iterations=1", "--seeds=2", "--frames=5", *(f"--set={change}" for change in SMALL)]

    cascade.main(arguments)
    rows = table_rows(tmp_path / "t.md")
    ways = list(cascade.WAYS)
    assert [row[0] for row in rows] == ["way", "bicubic", *ways, "way", *ways]
    assert all(re.fullmatch(r"\d+\.\d\d ± \d\.\d\d", row[1]) for row in rows[2:5])
    once, *others = ([float(cell.split()[0]) for cell in row[2:]] for row in rows[6:])
    for row, values in zip(rows[7:], others, strict=True):
        gains = [float(cell.split()[1].strip("()")) for cell in row[2:]]
        assert gains == pytest.approx(np.subtract(values, once), abs=0.011)
    for row, values in zip(rows[2:5], (once, *others), strict=True):
        shown = [float(part) for part in row[1].split(" ± ")]
        assert shown == pytest.approx([np.mean(values), np.std(values, ddof=1)], abs=0.011)

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("stage*.safetensors")}
    assert len(written) == 2 * sum(map(len, cascade.WAYS.values()))
    cascade.main(arguments)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("stage*.safetensors")}
    again = table_rows(tmp_path / "t.md")
    assert [row[:4] for row in rows] == [row[:4] for row in again]  # all but seconds


def table_rows(path: Path) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
