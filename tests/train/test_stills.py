"""The cache of stills: its bytes are limited, and the picture used last stays longest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsedvr.data.clip import Frame, read_picture
from vsedvr.train import stills
from vsedvr.train.stills import StillCache


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the names of the files that were actually read."""
    names: list[str] = []

    def note(path: Path) -> Frame:
        names.append(path.stem)
        return read_picture(path)

    monkeypatch.setattr(stills, "read_picture", note)
    return names


def test_pictures_are_kept_up_to_a_number_of_bytes(tmp_path: Path, reads: list[str]) -> None:
    for value, name in enumerate("abc"):
        Image.new("RGB", (20, 10), (value, 0, 0)).save(tmp_path / f"{name}.png")
    cache = StillCache(2 * 20 * 10 * 3)
    for name in "aabacaab":
        picture = cache.read(tmp_path / f"{name}.png")
        assert np.array_equal(picture, np.full((10, 20, 3), ["abc".index(name), 0, 0]))
        assert cache.nbytes == sum(kept.nbytes for kept in cache.pictures.values()) <= cache.max_bytes
    assert reads == ["a", "b", "c", "b"], "c took the place of b, which was used before a"


def test_a_picture_larger_than_that_is_not_kept_and_drives_none_out(tmp_path: Path, reads: list[str]) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "small.png")
    Image.new("RGB", (200, 100)).save(tmp_path / "large.png")
    cache = StillCache(1000)
    for name in ("small", "large", "large", "small"):
        cache.read(tmp_path / f"{name}.png")
    assert reads == ["small", "large", "large"]
    assert cache.nbytes == 600
