"""Files that are there whole or not at all."""

import os
from collections.abc import Buffer
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: str | Buffer) -> None:
    """Writes a file beside its place and puts it there when it is complete; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)
