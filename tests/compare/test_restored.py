"""Versions of a clip that a model restores, with a clip in memory."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import MemoryClip, moving_frames
from vsedvr.compare.restored import restored_version
from vsedvr.compare.version import Version
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.infer import Engine
from vsedvr.model import EDVR


class Counting(MemoryClip):
    """A clip that records which frames are requested."""

    def __getitem__(self, n: int) -> NDArray[np.uint8]:  # type: ignore[override]
        self.__dict__.setdefault("asked", set()).add(n)
        return super().__getitem__(n)


def test_a_frame_comes_from_its_window_within_its_scene(tiny_model: EDVR) -> None:
    clip = Counting(moving_frames(100, 16, 24), [0, 49])
    source = Version("clip", clip, clip.size, seconds=lambda n: n / 10)
    version = restored_version(source, clip, "tiny", "tests", tiny_model, torch.device("cpu"), torch.float32)
    assert (version.name, version.size, version.about) == ("tiny", (16, 24), "tests, x1, 0.0 million parameters")
    assert version.seconds
    assert version.seconds(50) == 5
    assert len(version.frames) == 100
    expected = to_frame(Engine(tiny_model).restore([49, 49, 50, 51, 52], lambda i: to_tensor(clip[i])))
    clip.__dict__["asked"].clear()
    restored = version.frame(50)
    assert clip.__dict__["asked"] == {49, 50, 51, 52}
    assert np.abs(restored.astype(int) - expected).max() <= 1
    version.close()
    np.testing.assert_array_equal(version.frame(50), restored)


def test_frames_of_other_sizes_are_told_by_the_clips_name(tiny_model: EDVR) -> None:
    frames = moving_frames(9, 16, 24)
    clip = MemoryClip([*frames[:5], frames[5][:8], *frames[6:]])
    source = Version("my clip", clip, clip.size)
    version = restored_version(source, clip, "tiny", "", tiny_model, torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match="frame 5 of my clip is 24x8, the first one is 24x16"):
        version.frame(4)


def test_two_stages_and_an_ensemble(tiny_model: EDVR) -> None:
    clip = MemoryClip(moving_frames(6, 16, 24))
    source, cpu = Version("clip", clip, clip.size), torch.device("cpu")
    version = restored_version(source, clip, "tiny", "", tiny_model, cpu, torch.float32, refine=tiny_model, ensemble=4)
    engine = Engine(tiny_model, ensemble=4)
    between = {n: engine.restore([max(0, min(5, n + k)) for k in range(-2, 3)], lambda i: to_tensor(clip[i])) for n in range(6)}
    expected = to_frame(Engine(tiny_model, ensemble=4).restore([0, 1, 2, 3, 4], between.__getitem__))
    assert np.abs(version.frame(2).astype(int) - expected).max() <= 1
