"""Writes files and folders that appear in their place only when they are complete.

They are first written under a hidden name in the same folder and flushed to the disk (fsync), then moved into place in one
step. A crash, a full disk or a power cut leaves the old content or the new one, never a mixture. All results of vsedvr are
written this way.
"""

import os
import secrets
import shutil
from collections.abc import Buffer, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "whole_folder", "write_whole"]


def write_whole(path: Path, content: str | Buffer) -> None:
    """Writes a file that appears only when it is complete. Missing parent folders are made, and an old file is replaced.

    Args:
        path: path of the file.
        content: text, which is written in UTF-8, or bytes.

    Raises:
        OSError: if the file cannot be written; the error names the path, and an old file stays as it was.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives the block a temporary path to write a file to; if it ends without an error, the file moves to `path`.

    Missing parent folders are made, and an old file is replaced. After an error the temporary file is removed.

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
    """Gives the block an empty temporary folder to fill; if it ends without an error, the folder moves to `path`.

    Missing parent folders are made. After an error the temporary folder is removed.

    Raises:
        FileExistsError: if `path` exists when the folder is moved.
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
    """Path with a hidden, random name in the same folder, which no other process uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the path to OSErrors in the block that name no path, such as those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _to_disk(path: Path) -> None:
    """Waits until the content of a file or folder is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders, and needs this only for files
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
