"""Finding clips and pictures, and ignoring other files."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from conftest import moving_frames, write_frames
from vsedvr.data.find import VIDEOS, find_clips, find_pairs, find_pictures, fingerprint, picture_names

APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
"""Beginning of the file ._name that macOS puts beside a file called name."""


def add_foreign_files(folder: Path) -> None:
    """Adds files that macOS, Windows and network drives leave in a folder of pictures."""
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "._film.mp4", ".hidden.png"):
        (folder / name).write_bytes(APPLE)
    for name in ("__MACOSX", "@eaDir", ".thumbnails"):
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(APPLE)
        (folder / name / "film.mp4").write_bytes(APPLE)


def test_pictures_are_ordered_by_number(tmp_path: Path) -> None:
    for name in ("im10.png", "im9.PNG", "im1.jpg", "im².png", "notes.txt", "9.png", "10.png"):
        (tmp_path / name).touch()
    assert picture_names(tmp_path) == ["9.png", "10.png", "im1.jpg", "im9.PNG", "im10.png", "im².png"]


def test_clips_are_found_however_deep(tmp_path: Path) -> None:
    for folder in ("a/x", "a/y", "b"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 2)).save(tmp_path / folder / "0.PNG")
    (tmp_path / "a/film.MKV").touch()
    assert list(find_clips(tmp_path)) == ["a/film.MKV", "a/x", "a/y", "b"]
    assert list(find_clips(tmp_path / "b")) == ["b"]
    assert list(find_clips(tmp_path / "a/film.MKV")) == ["film.MKV"]


def test_hidden_files_and_those_of_the_system_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "a", moving_frames(2, 8, 8))
    before = fingerprint(tmp_path / "a")
    add_foreign_files(tmp_path)
    add_foreign_files(tmp_path / "a")
    with caplog.at_level(logging.INFO, "vsedvr"):
        assert find_clips(tmp_path) == {"a": tmp_path / "a"}
    assert caplog.records == []
    assert picture_names(tmp_path / "a") == ["00000000.png", "00000001.png"]
    assert [path.name for path in find_pictures(tmp_path)] == ["00000000.png", "00000001.png"]
    assert fingerprint(tmp_path / "a") == before
    assert find_pairs(tmp_path, tmp_path) == {"a": (tmp_path / "a", tmp_path / "a")}


def test_a_hidden_folder_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    write_frames(tmp_path / ".cache/clips/a", moving_frames(2, 8, 8))
    assert list(find_clips(tmp_path / ".cache/clips")) == ["a"]


def test_videos_with_all_usual_suffixes_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    usual = "mts MOV wmv flv vob mpeg mxf 3gp ogv m2v gif dv f4v webm hevc m2ts 264 ivf y4m asf divx rm mkv mp4 avi ts mpg m4v"
    for suffix in usual.split():
        (tmp_path / f"x_{suffix}.{suffix}").touch()
    with caplog.at_level(logging.INFO, "vsedvr"):
        assert len(find_clips(tmp_path)) == len(usual.split())
    assert caplog.records == []
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEOS)


def test_what_was_not_looked_at_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("film.mkv", "notes.txt", "sound.flac", "README"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO, "vsedvr"):
        assert list(find_clips(tmp_path)) == ["film.mkv"]
    (record,) = caplog.records
    assert record.message.startswith(f"not looked at below {tmp_path}: ")
    assert record.message.endswith("(.flac, .txt, README)")


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        find_clips(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"neither video files .* below .*empty$"):
        find_clips(tmp_path / "empty")
    (tmp_path / "empty/sound.flac").touch()
    with pytest.raises(ValueError, match=r"below .*empty; files of other kinds are there: \.flac"):
        find_clips(tmp_path / "empty")


def test_linked_folders_are_entered_and_circles_end(tmp_path: Path) -> None:
    write_frames(tmp_path / "disk/a", moving_frames(1, 8, 8))
    (tmp_path / "set").mkdir()
    try:
        (tmp_path / "set/linked").symlink_to(tmp_path / "disk", target_is_directory=True)
        (tmp_path / "disk/up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "set/circle").symlink_to(tmp_path / "set", target_is_directory=True)
    except OSError:
        pytest.skip("links are not permitted here")
    assert list(find_clips(tmp_path / "set")) == ["linked/a"]


def test_a_fingerprint_changes_with_the_data(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", moving_frames(2, 8, 8))
    before = fingerprint(tmp_path / "a"), fingerprint(tmp_path / "a/00000000.png")
    assert before == (fingerprint(tmp_path / "a"), fingerprint(tmp_path / "a/00000000.png"))
    with open(tmp_path / "a/00000000.png", "ab") as file:
        file.write(b"x")
    assert fingerprint(tmp_path / "a") != before[0]
    assert fingerprint(tmp_path / "a/00000000.png") != before[1]
