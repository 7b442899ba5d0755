"""Files and folders that appear in their place only when they are complete.

What is written goes to a hidden name beside the place, to the disk (fsync), and then into place in one step. A crash, a full
disk or a power cut leaves the old content or the new one, never half of it. All of vsedvr writes results this way.
"""

import os
import secrets
import shutil
from collections.abc import Buffer, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "whole_folder", "write_whole"]


def write_whole(path: Path, content: str | Buffer) -> None:
    """Writes a file that appears when it is complete. Missing folders above it are made, an old file is replaced.

    Args:
        path: where the file appears.
        content: a text, written in UTF-8, or bytes.

    Raises:
        OSError: if it cannot be written; the error names the path, and what stood there before is still there.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write a file to; when the block ends without an error, the file moves to `path`.

    Missing folders above it are made, and an old file is replaced. After an error the temporary file is removed.

    Raises:
        OSError: if the file cannot be written; the error names the path.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with _naming(path):
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
            _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives an empty temporary folder; when the block ends without an error, it moves to `path` with all that is in it.

    Missing folders above it are made. After an error the temporary folder is removed.

    Raises:
        FileExistsError: if there is something at `path` by then.
        OSError: if the folder cannot be written; the error names a path.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        with _naming(path):
            yield temporary
            for file in temporary.rglob("*"):
                _to_disk(file)
            if path.exists():
                raise FileExistsError(f"{path} exists already")
            temporary.rename(path)
            _to_disk(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A hidden name in the same folder that no other process uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the path to errors of the operating system that name none, such as those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _to_disk(path: Path) -> None:
    """Waits until the content of a file or folder is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders, and needs this for files only
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
