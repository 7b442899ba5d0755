"""The script that measures models against H.264 runs from end to end, and a known correction has its known gain."""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.quality import compression
from conftest import TINY, moving_frames, random_model, write_frames
from vsedvr.compare.metrics import MAX_PSNR
from vsedvr.model import EDVRConfig
from vsedvr.train.state import save_model

HEIGHT, WIDTH = 48, 64


class Half(nn.Module):
    """Removes half of an error of one sign and size from the centre frame, and records which windows it saw."""

    config = EDVRConfig(num_frame=5, scale=1)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, window: Tensor) -> Tensor:
        self.seen.append(window)
        return window[:, 2] - 20 / 255


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(compression, "MOVING_SIZE", (32, 48))
    monkeypatch.setattr(compression, "SLOW_SIZE", 32)
    for n in range(2):
        write_frames(tmp_path / f"clips/{n}", moving_frames(12 + 20 * n, HEIGHT, WIDTH, (0, n)))
    save_model(tmp_path / "x1.safetensors", random_model(dataclasses.replace(TINY, num_frame=3)), {})
    places = ["--clips", tmp_path / "clips", "--output", tmp_path / "runs", "--table", tmp_path / "table.md"]
    return [str(tmp_path / "x1.safetensors"), *map(str, places)]


def test_a_row_for_every_model_and_crf(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compression.main([*arguments, "--crf", "20", "40"])
    rows = capsys.readouterr().out.splitlines()
    assert [re.split(r" *\| *", row)[1:3] for row in rows] == [["x1", "20"], ["x1", "40"]]
    table = (tmp_path / "table.md").read_text()
    assert "2 moving and of 4 slow clips" in table
    assert all(row in table.splitlines() for row in rows)
    gains = np.array([[float(cell) for cell in row.split("|")[3:-1]] for row in rows])
    assert gains.shape == (2, 6)
    assert (np.diff(gains.reshape(2, 2, 3)) < 0).all(), "a network of no use does less harm the less of it is taken"
    assert (gains[0] < gains[1]).all(), "and least where most is wrong"


@pytest.mark.parametrize("n", [3, 26])
def test_a_known_correction(n: int) -> None:
    gt = torch.stack([torch.full((3, 40, 64), 0.2 + k / 255) for k in range(30)])
    model = Half()
    gains = compression.gain(model, gt + 40 / 255, gt[n], n)  # type: ignore[arg-type]
    assert gains == pytest.approx([-20 * np.log10(1 - share / 2) for share in (0.8, 1, 1.2)], abs=1e-6)
    assert torch.equal(model.seen[0][0], gt[n - 2 : n + 3] + 40 / 255)


def test_each_frame_is_held_against_its_own_ground_truth() -> None:
    """Grainy frames come through the encoder nearly as they were, and then 20 steps off; their neighbours are 40 off."""
    grain = np.random.default_rng(0).integers(0, 4, (48, 64, 1), np.uint8)
    frames = [np.full((48, 64, 3), 60 + 40 * (n % 3), np.uint8) + grain for n in range(12)]
    clip = compression.Clip(frames, [4, 7], (32, 48))
    (gains,) = compression.mean_gains([Half()], [clip], 20)  # type: ignore[list-item]
    assert (np.diff(gains) < 0).all()
    assert gains[1] < -15, "against another frame: -4 or +6"


def test_what_it_counts_is_luma_in_the_middle() -> None:
    gt = torch.full((3, 40, 64), 0.5)
    edge, colour = gt.clone(), gt.clone()
    edge[:, :8], edge[..., -8:] = 0, 1
    assert compression.luma_psnr(edge, gt) == MAX_PSNR
    colour[1] += 10 / 255  # green is 0.587 of luma, in limited range 129 of 255
    assert compression.luma_psnr(colour, gt) == pytest.approx(20 * np.log10(255 / (10 * 128.553 / 255)), abs=1e-6)


def test_a_slow_clip_is_slow_and_always_the_same() -> None:
    still = moving_frames(1, 300, 400)[0]
    clip = compression.slow_clip(still, 3)
    assert [frame.shape for frame in clip.frames] == [(256, 256, 3)] * 30
    assert all(np.array_equal(a, b) for a, b in zip(clip.frames, compression.slow_clip(still, 3).frames, strict=True))
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(clip.frames)]
    assert min(steps) > 0, "it moves"
    fast = np.abs(np.roll(still, 6, (0, 1))[8:264, 8:264].astype(int) - still[8:264, 8:264]).mean()
    assert max(steps) < fast, "by less than 6 pixels down and across"


def test_a_clip_that_is_too_short_is_named(arguments: list[str], tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/short", moving_frames(11, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match=r"short has 11 frames of 64x48; 12 of 48x32 are the least"):
        compression.main(arguments)
