"""Reading a checkpoint: its content, and errors that name the file."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from checkpoint_files import SOUND, error_of, prefixed, save
from vsedvr.weights import CheckpointError
from vsedvr.weights.checkpoint import read_state_dict


def test_weights_come_as_they_are_stored_under_their_own_names(tmp_path: Path) -> None:
    half = {key: value.half() for key, value in SOUND.items()}
    read = read_state_dict(
        save(tmp_path / "m.pth", {"state_dict": prefixed("generator.", half) | {"step_counter": torch.ones(1)}})
    )
    assert read.keys() == half.keys()
    assert all(torch.equal(value, half[key]) and value.dtype == torch.float16 for key, value in read.items())


def test_reading_leaves_the_file_closed_and_the_weights_free_of_it(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", SOUND)
    read = read_state_dict(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert all(torch.equal(value, SOUND[key]) for key, value in read.items())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "missing.pth")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder; give the checkpoint file inside it" in error_of(tmp_path)
    with zipfile.ZipFile(save(tmp_path / "m.pth", SOUND)) as archive:
        archive.extractall(tmp_path / "m")
    for folder in (tmp_path / "m", next((tmp_path / "m").iterdir())):
        assert "is a checkpoint that was unpacked" in error_of(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes among files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no file but a pipe" in error_of(tmp_path / "pipe")


def test_errors_of_the_system_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "m.pth", SOUND)

    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fails)
    assert error_of(path).endswith("cannot be read: Permission denied")


def test_the_place_of_damage_is_named(tmp_path: Path) -> None:
    save(tmp_path / "m.pth", {"params": SOUND})
    with zipfile.ZipFile(tmp_path / "m.pth") as old, zipfile.ZipFile(tmp_path / "less.pth", "w") as new:
        for name in old.namelist():
            if not name.endswith("data/5"):
                new.writestr(name, old.read(name))
    message = r"less\.pth is damaged or truncated: its storage 5 is missing; download it again .at params/"
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(tmp_path / "less.pth")
