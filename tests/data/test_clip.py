"""Everything that all clips can do, and folders of pictures."""

import os
import pickle
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from videos import write_rgb

from conftest import moving_frames, write_frames
from vsedvr.data.clip import FrameFolder, check_sizes, open_at_any_frame, open_clip


def test_folders_are_ordered_by_number(tmp_path: Path) -> None:
    for n in (10, 9, 1):
        Image.new("RGB", (4, 2), (n, 0, 0)).save(tmp_path / f"im{n}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._im1.png").write_bytes(b"\0\5\x16\7")
    clip = open_clip(tmp_path, None)
    assert [int(clip[n][0, 0, 0]) for n in range(len(clip))] == [1, 9, 10]
    assert clip.scene_starts(0, 2) == [0]
    assert clip.scene_starts(1, 2) == []
    assert clip.size == (2, 4)


def test_opening_a_folder_looks_at_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips must be small: a data set may have a hundred thousand folders, and each worker has a copy of all clips."""
    write_frames(tmp_path / "a", moving_frames(7, 16, 16))
    open_picture, scan = Mock(side_effect=Image.open), Mock(side_effect=os.scandir)
    monkeypatch.setattr(Image, "open", open_picture)
    monkeypatch.setattr(os, "scandir", scan)
    clip = FrameFolder(tmp_path / "a")
    assert (open_picture.call_count, scan.call_count) == (1, 1)
    assert len(pickle.dumps(clip)) < 500 + 20 * 7, "names, not whole paths"


@pytest.mark.parametrize("open_it", [open_at_any_frame, lambda path: open_clip(path, None)])
def test_videos_and_folders_are_clips_alike(tmp_path: Path, open_it) -> None:  # type: ignore[no-untyped-def]
    frames = moving_frames(9, 32, 48)
    write_frames(tmp_path / "folder", frames)
    write_rgb(tmp_path / "video.mkv", frames, "ffv1", pixels="bgr0")
    for path in (tmp_path / "folder", tmp_path / "video.mkv"):
        clip = open_it(path)
        assert (len(clip), clip.size, tuple(clip.lost)) == (9, (32, 48), ())
        for n in (8, 0, 4):
            np.testing.assert_array_equal(clip[n], frames[n])
        assert clip.scene_starts(0, 8) == [0]
        clip.close()
        np.testing.assert_array_equal(clip[5], frames[5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "video.mkv"], "nothing is written"


def test_a_picture_of_another_size_is_found_by_its_header(tmp_path: Path) -> None:
    frames = moving_frames(4, 24, 32)
    frames[2] = frames[2][:20, :30]
    write_frames(tmp_path / "a", frames)
    clip = open_clip(tmp_path / "a", None)
    check_sizes(clip, 2)
    with pytest.raises(ValueError, match=r"frame 2 \(.*a/00000002\.png\) is 30x20, the first frame is 32x24"):
        check_sizes(clip, 4)
    (tmp_path / "a/00000003.png").write_bytes(b"\x89PNG")
    (tmp_path / "a/00000002.png").unlink()
    with pytest.raises(ValueError, match=r"cannot read the picture .*00000003\.png"):
        check_sizes(open_clip(tmp_path / "a", None), 3)


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for open_it in (open_at_any_frame, lambda path: open_clip(path, None)):
        with pytest.raises(ValueError, match=r"no pictures .* in .*empty"):
            open_it(tmp_path / "empty")
        with pytest.raises(FileNotFoundError, match=r"there is no such file or folder: .*missing"):
            open_it(tmp_path / "missing")
