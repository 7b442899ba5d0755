"""The page of messages keeps up with the source: the fixed words of every quoted message stand in one text of the package."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/messages.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| message ")]
HOLE = "\0"
"""Stands for what is put into a text."""


def texts(tree: ast.AST) -> Iterator[str]:
    """All texts in a module, with holes for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[.\d]*[sdgr]", HOLE, node.value)


@cache
def source_texts() -> tuple[str, ...]:
    return tuple(text for path in (ROOT / "vsedvr").rglob("*.py") for text in texts(ast.parse(path.read_text())))


def is_printed(message: str) -> bool:
    """Whether a text of the package has the words of a message in their order, with a hole at each of its variable parts."""
    parts = [re.escape(part) for part in re.split(r"<[^<>]+>", message)]
    pattern = re.compile(f"{HOLE}+".join(parts))
    return any(pattern.search(text) for text in source_texts())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("`")[1][:60])
def test_the_message_is_in_the_source(row: str) -> None:
    cells = row.strip("| ").split(" | ")
    assert len(cells) == 3, "message, what it means, what to do"
    message = cells[0].removeprefix("`").removesuffix("`")
    assert cells[0] == f"`{message}`"
    assert is_printed(message), message


@pytest.mark.parametrize("message", ["clip must have a constant shape", "no preset <name>; there are none at all"])
def test_a_message_that_nobody_prints_is_found(message: str) -> None:
    assert not is_printed(message)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
