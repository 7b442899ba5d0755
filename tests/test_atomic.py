import os
from pathlib import Path

import pytest

from vsedvr.data.atomic import write_whole


def test_the_file_is_whole_and_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "a/b.txt", "grün")
    write_whole(tmp_path / "a/b.txt", b"second")
    assert (tmp_path / "a/b.txt").read_bytes() == b"second"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "b.txt", "old")

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "b.txt", "new")
    assert (tmp_path / "b.txt").read_text() == "old"
