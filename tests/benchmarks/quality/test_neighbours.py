"""The script that measures what neighbours are worth runs from end to end, and known pictures have their known gains."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.quality import neighbours
from conftest import TINY, MemoryClip, moving_frames, random_model, write_frames
from vsedvr.data.resize import enlarge
from vsedvr.model import EDVRConfig
from vsedvr.train.state import save_model

SIZE = (48, 64)
HALF, QUARTER = 0.5, 0.25
HALVED = 20 * np.log10(2)
"""Gain in dB of an error that is halved."""


def checkerboard(*colour: float) -> Tensor:
    """A fine checkerboard (3, h, w) of which a bicubic reduction leaves nothing."""
    down, across = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    return torch.tensor(colour).view(3, 1, 1) * (1 - 2 * ((down + across) % 2))


class Guess(nn.Module):
    """Enlarges the centre frame, and adds half of a detail if its neighbours differ from it, else a quarter."""

    config = EDVRConfig(num_frame=5, scale=2)

    def __init__(self, detail: Tensor) -> None:
        super().__init__()
        self.detail = detail

    def forward(self, window: Tensor) -> Tensor:
        still = all(torch.equal(window[:, 2], window[:, n]) for n in range(5))
        return torch.stack([enlarge(frame, 2) for frame in window[:, 2]]) + (QUARTER if still else HALF) * self.detail


def measured(detail: Tensor, guessed: Tensor) -> neighbours.Gain:
    window = torch.stack([torch.full((3, *SIZE), (90 + 20 * n) / 255) + detail for n in range(5)])
    return neighbours.gain(Guess(guessed), window)  # type: ignore[arg-type]


def test_half_of_the_error_in_luma() -> None:
    grey = checkerboard(40 / 255, 40 / 255, 40 / 255)
    alone = 20 * np.log10(1 / (1 - QUARTER))
    assert measured(grey, grey) == pytest.approx((HALVED, 0, HALVED - alone), abs=1e-6)


def test_half_of_the_error_in_blue() -> None:
    blue = checkerboard(0, 0, 40 / 255)
    gain = measured(blue, blue)
    assert (gain.luma, gain.colours) == pytest.approx((HALVED, HALVED), abs=1e-6)


def test_wrong_colours_are_told() -> None:
    """Blue is an eighth of green in luma: as much of it as is missing of green changes luma little and colours much."""
    grey = checkerboard(40 / 255, 40 / 255, 40 / 255)
    gain = measured(grey, checkerboard(0, 0, 40 / 255))
    assert gain.luma == pytest.approx(-20 * np.log10(1 - HALF * 24.966 / 219), abs=1e-6)
    assert gain.colours < -40, "the grey had no colours at all"


def test_the_border_does_not_count() -> None:
    grey = checkerboard(40 / 255, 40 / 255, 40 / 255)
    outside = grey.clone()
    outside[:, 8:-8, 8:-8] = 0
    assert measured(grey, outside) == pytest.approx((0, 0, 0), abs=1e-6)


def test_stretched_contrast_keeps_the_mean_and_ends_at_black_and_white() -> None:
    window = torch.tensor([100, 110, 90, 100]) / 255
    assert torch.equal((neighbours.stretched(window) * 255).round(), torch.tensor([100.0, 125, 75, 100]))
    wide = neighbours.stretched(torch.tensor([0.0, 0.5, 1]))
    assert wide.tolist() == pytest.approx([0, 128 / 255, 1])


def test_the_middle_begins_at_a_multiple_of_four() -> None:
    window = torch.arange(270 * 402).view(1, 1, 270, 402)
    assert neighbours.middle(window).shape == (1, 1, 256, 384)
    assert divmod(int(neighbours.middle(window)[0, 0, 0, 0]), 402) == (4, 8)


def test_a_slow_window_is_slow_and_always_the_same() -> None:
    clip = MemoryClip(moving_frames(1, 300, 400))
    config = EDVRConfig(num_frame=5)
    window = neighbours.slow_window(clip, 3, config)
    assert window.shape == (5, 3, 256, 256)
    assert torch.equal(window, neighbours.slow_window(clip, 3, config))
    assert (window.diff(dim=0).abs().mean((1, 2, 3)) > 0).all(), "it moves"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(neighbours, "MOVING_SIZE", (32, 48))
    monkeypatch.setattr(neighbours, "SLOW_SIZE", 32)
    monkeypatch.setattr(neighbours, "MIDDLE", (4, 5))
    for n in range(2):
        write_frames(tmp_path / f"valid/{n}", moving_frames(7, *SIZE, (0, n)))
        write_frames(tmp_path / f"eval/vid4/GT/final{n}", moving_frames(5, *SIZE, (n, 1)))
    model = random_model(dataclasses.replace(TINY, num_frame=3, scale=2))
    save_model(tmp_path / "doubled.safetensors", model, {})
    places = ["--output", tmp_path / "runs", "--table", tmp_path / "table.md", tmp_path / "doubled.safetensors"]
    return list(map(str, places))


def test_a_row_for_every_kind_and_clip(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    neighbours.main(["--valid", str(tmp_path / "valid"), "--eval", str(tmp_path / "eval"), *arguments])
    rows = [re.split(r" *\| *", row)[1:-1] for row in capsys.readouterr().out.splitlines()]
    kinds = ["moving", "moving, contrast 2.5", "slow", "slow, contrast 2.5", "mean of these", "final0", "final1"]
    assert [row[:2] for row in rows] == [["doubled", kind] for kind in kinds]
    figures = np.array([row[2:] for row in rows], float)
    np.testing.assert_allclose(figures[4], figures[:4].mean(0), atol=1e-3)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [re.split(r" *\| *", line)[1:-1] for line in lines if line.startswith("| doubled")] == rows


def test_what_cannot_be_measured_is_named(arguments: list[str], tmp_path: Path) -> None:
    write_frames(tmp_path / "valid/short", moving_frames(6, *SIZE))
    with pytest.raises(ValueError, match=r"short has 6 frames of 64x48; 7 of 48x32 are the least"):
        neighbours.main(["--valid", str(tmp_path / "valid"), *arguments])
    with pytest.raises(ValueError, match="compression keeps the size"):
        neighbours.main(["--valid", str(tmp_path / "valid"), *arguments[:-1], "compression"])
    with pytest.raises(SystemExit):
        neighbours.main(arguments)
    assert not (tmp_path / "table.md").exists()
