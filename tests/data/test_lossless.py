from pathlib import Path

import numpy as np
import pytest

from vsedvr.data.lossless import lossless_video
from vsedvr.data.video import read_video


@pytest.mark.parametrize(("height", "width"), [(16, 32), (17, 33), (1, 1)])
def test_every_bit_comes_back(tmp_path: Path, height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), np.uint8)
    with lossless_video(tmp_path / "x.mkv", height, width) as write:
        for frame in frames:
            write(frame)
        assert not (tmp_path / "x.mkv").exists()
    np.testing.assert_array_equal(list(read_video(tmp_path / "x.mkv")), frames)


def test_an_interrupted_video_is_not_there(tmp_path: Path) -> None:
    def interrupted() -> None:
        with lossless_video(tmp_path / "x.mkv", 8, 8) as write:
            write(np.zeros((8, 8, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
