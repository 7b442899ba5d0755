import json
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from vsedvr.finding import reinstall_line


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (None, "vsedvr"),
        ({"url": "file:///home/me/vsedvr", "dir_info": {}}, "file:///home/me/vsedvr"),
        ({"url": "file:///home/me/vsedvr", "dir_info": {"editable": True}}, "--editable file:///home/me/vsedvr"),
    ],
)
def test_the_package_is_installed_again_from_where_it_came(monkeypatch: pytest.MonkeyPatch, source: Any, line: str) -> None:
    text = source and json.dumps(source)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert reinstall_line() == f"pip install --force-reinstall --no-deps --no-cache-dir {line}"
