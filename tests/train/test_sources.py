"""Data sets in the layouts in which they are distributed, and clips that are left out."""

import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import moving_frames, write_frames
from training_data import flat, write_video
from vsedvr.model import EDVRConfig
from vsedvr.train.settings import DataConfig
from vsedvr.train.sources import Scene, find_scenes, find_stills, span

X4 = EDVRConfig(num_feat=8, num_frame=3, deformable_groups=2)


def found(root: Path, config: DataConfig, network: EDVRConfig = X4) -> list[Scene]:
    return find_scenes(config, network, root, root / "cache")


def folders(scenes: Sequence[Scene], root: Path) -> list[tuple[str, ...]]:
    return [tuple(path.relative_to(root).as_posix() for path in scene.paths) for scene in scenes]


def small(frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    return [frame[::4, ::4] for frame in frames]


def write_reds(root: Path, *clips: str) -> None:
    for clip in clips:
        frames = moving_frames(4, 32, 48)
        write_frames(root / "train/train_sharp" / clip, frames)
        write_frames(root / "train/train_sharp_bicubic/X4" / clip, small(frames))


def test_reds_as_distributed(tmp_path: Path) -> None:
    write_reds(tmp_path, "000", "001", "011")
    gt, lq = "train/train_sharp", "train/train_sharp_bicubic/X4"
    scenes = found(tmp_path, DataConfig((gt,), (lq,), exclude=(f"{gt}/000", f"{gt}/011"), patch=32))
    assert folders(scenes, tmp_path) == [(f"{gt}/001", f"{lq}/001")]
    assert (scenes[0].start, scenes[0].stop) == (0, 4)


def test_vimeo_as_distributed_with_its_list(tmp_path: Path) -> None:
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        for n, frame in enumerate(moving_frames(7, 32, 32)):
            path = tmp_path / "sequences" / name / f"im{n + 1}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
    (tmp_path / "sep_trainlist.txt").write_text("00001/0002\r\n00002/0001\r\n\r\n")
    config = DataConfig(("sequences",), names="sep_trainlist.txt", patch=32)
    scenes = found(tmp_path, config, EDVRConfig(num_feat=8, num_frame=7, deformable_groups=2))
    assert folders(scenes, tmp_path) == [("sequences/00001/0002",), ("sequences/00002/0001",)]
    one, two = (len(pickle.dumps(scenes[:n])) for n in (1, 2))
    assert two - one < 300, "bytes of a scene, of which Vimeo-90K has 64,612 in each worker"


def test_scenes_of_a_video_lie_between_its_cuts(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    levels = [*range(40, 45), 120, 121, *range(200, 206)]
    write_video(tmp_path / "v/film.mkv", [flat((level, 128, 128)) for level in levels])
    scenes = found(tmp_path, DataConfig(("v",), patch=48))
    assert [(scene.start, scene.stop) for scene in scenes] == [(0, 5), (7, 13)], "two frames are no window"
    scenes = found(tmp_path, DataConfig(("v",), patch=48, max_frames=10))
    assert [(scene.start, scene.stop) for scene in scenes] == [(0, 5), (7, 10)]
    scenes = found(tmp_path, DataConfig(("v",), patch=48, interval=(2,)))
    assert span(X4, 2) == 5
    assert [(scene.start, scene.stop) for scene in scenes] == [(0, 5), (7, 13)]
    scenes = found(tmp_path, DataConfig(("v",), patch=48, interval=(3, 4)))
    assert scenes == []


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = moving_frames(4, 32, 48)
    for name, gt, lq in (
        ("good", frames, small(frames)),
        ("alone", frames, None),
        ("short", frames[:2], small(frames[:2])),
        ("narrow", [frame[:, :24] for frame in frames], small([frame[:, :24] for frame in frames])),
        ("unequal", frames, small(frames[:3])),
        ("large", frames, frames),
        ("broken", frames, small(frames)),
    ):
        write_frames(tmp_path / "gt" / name, gt)
        if lq is not None:
            write_frames(tmp_path / "lq" / name, lq)
    (tmp_path / "gt/broken/00000000.png").write_bytes(b"\x89PNG")
    with caplog.at_level(logging.WARNING, "vsedvr"):
        scenes = found(tmp_path, DataConfig(("gt",), ("lq",), patch=32))
    assert folders(scenes, tmp_path) == [("gt/good", "lq/good")]
    messages = {record.message for record in caplog.records}
    assert len(messages) == 6
    for part in (
        f"left out: {tmp_path / 'gt/alone'} has no counterpart alone in data.lq",
        f"left out: {tmp_path / 'gt/short'} has no scene of 3 frames",
        f"left out: {tmp_path / 'gt/narrow'} is 24x32, smaller than data.patch 32",
        "left out: clip unequal: 4 frames in",
        f"left out: {tmp_path / 'gt/large'}: clip large: low quality of 48x32 does not become ground truth of 48x32",
        f"left out: cannot read the picture {tmp_path / 'gt/broken/00000000.png'}",
    ):
        assert any(message.startswith(part) for message in messages), part


def test_names_that_are_not_there_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "gt/a", moving_frames(3, 32, 32))
    (tmp_path / "list.txt").write_text("a\nb\nmy clip\n")
    with caplog.at_level(logging.WARNING, "vsedvr"):
        scenes = found(tmp_path, DataConfig(("gt",), names="list.txt", exclude=("gt/c", "gt/d", "list.txt"), patch=32))
    assert len(scenes) == 1
    assert [record.message for record in caplog.records] == [
        "2 of 3 names in data.exclude are not there, the first is gt/c",
        "2 clips of list.txt are not there, the first is b",
    ]


def test_folders_that_are_not_there_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        found(tmp_path, DataConfig(("missing",)))
    write_frames(tmp_path / "gt/a", moving_frames(3, 32, 32))
    with pytest.raises(FileNotFoundError, match="missing"):
        found(tmp_path, DataConfig(("gt",), ("missing",), patch=32))
    with pytest.raises(FileNotFoundError, match=r"list\.txt"):
        found(tmp_path, DataConfig(("gt",), names="list.txt", patch=32))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no pictures below .*empty"):
        find_stills(DataConfig(stills=("empty",)), tmp_path)


def test_stills_are_all_pictures_but_the_excluded(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.JPG", "deep/c.png", "notes.txt"):
        path = tmp_path / "stills" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    stills = find_stills(DataConfig(stills=("stills",), exclude=("stills/deep/c.png",)), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in stills] == ["stills/a.png", "stills/deep/b.JPG"]
