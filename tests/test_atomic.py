import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vsedvr.atomic import whole_file, whole_folder, write_whole


def test_the_file_is_whole_and_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "a/b.txt", "grün")
    write_whole(tmp_path / "a/b.txt", b"second")
    assert (tmp_path / "a/b.txt").read_bytes() == b"second"
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "b.txt", "old")

    def interrupted() -> None:
        with whole_file(tmp_path / "b.txt") as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "b.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_full_disk_names_the_path_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "b.bin", b"old")
    code = f"""
import resource, signal
from pathlib import Path
from vsedvr.atomic import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
write_whole(Path({str(tmp_path / "b.bin")!r}), bytes(5000))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{os.strerror(errno.EFBIG)}: '{tmp_path / 'b.bin'}'" in done.stderr
    assert os.listdir(tmp_path) == ["b.bin"]
    assert (tmp_path / "b.bin").read_bytes() == b"old"


def test_two_writers_do_not_write_into_one_another(tmp_path: Path) -> None:
    with whole_file(tmp_path / "b.txt") as one, whole_file(tmp_path / "b.txt") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "b.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_folder_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a/clip") as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep/0.txt").write_text("0")
        assert not (tmp_path / "a/clip").exists()
    assert (tmp_path / "a/clip/deep/0.txt").read_text() == "0"
    assert os.listdir(tmp_path / "a") == ["clip"]


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    with pytest.raises(FileExistsError, match="clip exists already"), whole_folder(tmp_path / "clip") as temporary:
        (temporary / "0.txt").write_text("0")
    assert os.listdir(tmp_path) == ["clip"]
    assert os.listdir(tmp_path / "clip") == []
