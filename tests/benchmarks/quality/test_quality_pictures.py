"""The script that draws what each model makes of its input."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.quality import pictures
from vsedvr.compare.drawing import GAP
from vsedvr.weights import EMBEDDED


def test_every_embedded_model_has_a_row() -> None:
    assert sorted(name for name, _, _ in pictures.ROWS) == sorted(EMBEDDED)


def test_a_row_shows_the_middle_frame_before_and_after_and_the_original(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "SHOWN", (slice(8, 24), slice(4, 36)))
    clip = torch.rand(9, 3, 32, 48)
    before = clip.clone()
    before[4] = 0.5
    drawn = pictures.row("denoise", "gray", before, clip)
    assert drawn.size == (3 * 32 + 2 * GAP, 16 + 24)
    assert np.array_equal(np.asarray(drawn)[24:, :32], np.full((16, 32, 3), 128))
    original = (clip[4, :, 8:24, 4:36] * 255).round().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(drawn)[24:, -32:], original)
    luma = np.tensordot(128 - original, np.array([65.481, 128.553, 24.966]) / 255, 1)
    assert f"gray: {10 * np.log10(255**2 / np.mean(luma**2)):.2f} dB, denoise: " in capsys.readouterr().out


def test_rows_are_stacked() -> None:
    rows = [Image.new("RGB", (30, 10), color) for color in ("red", "blue")]
    sheet = np.asarray(pictures.stacked(rows))
    assert sheet.shape == (20 + GAP, 30, 3)
    assert [tuple(sheet[y, 0]) for y in (0, 12, 20)] == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]
