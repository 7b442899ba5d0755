"""Videos decoded to disk for training: only once, completely, and only if there is room."""

import errno
import json
import pickle
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest
from videos import with_noise, write_rgb

from conftest import moving_frames
from vsedvr.data import decoded
from vsedvr.data.clip import open_clip

FRAMES = moving_frames(9, 48, 64)


def cut_video(path: Path) -> Path:
    """Writes a video with five frames of one scene and four of another."""
    return write_rgb(path, [*FRAMES[:5], *(255 - frame for frame in FRAMES[5:])], "ffv1", pixels="bgr0")


def test_a_video_is_split_at_its_cut_and_decoded_once(tmp_path: Path) -> None:
    path, cache = cut_video(tmp_path / "two.mkv"), tmp_path / "cache"
    clip = open_clip(path, cache)
    assert len(clip) == 9
    assert clip.scene_starts(0, 8) == [0, 5]
    assert clip.scene_starts(1, 4) == []
    np.testing.assert_array_equal(np.stack([clip[n] for n in range(5)]), FRAMES[:5])
    (folder,) = cache.iterdir()
    folder.joinpath("frames.rgb").write_bytes(bytes(9 * 48 * 64 * 3))
    assert open_clip(path, cache)[3].max() == 0
    assert len(open_clip(path, cache, max_frames=6)) == 6
    with pytest.raises(IndexError):
        clip[9]


def test_it_can_go_to_another_process(tmp_path: Path) -> None:
    clip = open_clip(cut_video(tmp_path / "two.mkv"), tmp_path / "cache")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clip))[4], FRAMES[4])


def test_frames_that_were_lost_are_known(tmp_path: Path) -> None:
    whole = write_rgb(tmp_path / "whole.avi", FRAMES, "mpeg4", {"bf": "0"})
    clip = open_clip(with_noise(whole, tmp_path / "damaged.avi", [3]), tmp_path / "cache")
    assert (len(clip), list(clip.lost)) == (8, [3])


def test_too_little_room_is_told_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    path, cache = cut_video(tmp_path / "film.mkv"), tmp_path / "cache"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(6 * 48 * 64 * 3))
    with pytest.raises(OSError, match=r"its 9 frames decoded take 0\.0 GB .* free; make room, or take fewer frames") as error:
        open_clip(path, cache)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path)
    assert list(cache.iterdir()) == []
    assert len(open_clip(path, cache, max_frames=6)) == 6


def test_what_cannot_be_decoded_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"cannot read the video .*broken\.mp4"):
        open_clip(tmp_path / "broken.mp4", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    us = psutil.Process()
    owners = {
        ".killed.0.part": [platform.node(), 2**22 + 7, 0.0],
        ".another_with_its_number.1.part": [platform.node(), us.pid, us.create_time() - 500],
        ".running.2.part": [platform.node(), us.pid, us.create_time()],
        ".on_another_machine.3.part": ["elsewhere", 2**22 + 7, 0.0],
    }
    for name, owner in owners.items():
        (cache / name).mkdir(parents=True)
        (cache / name / "frames.rgb").write_bytes(bytes(100))
        (cache / name / decoded.OWNER).write_text(json.dumps(owner))
    open_clip(cut_video(tmp_path / "two.mkv"), cache)
    assert sorted(path.name for path in cache.glob(".*")) == [".on_another_machine.3.part", ".running.2.part"]
