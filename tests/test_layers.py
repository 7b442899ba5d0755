"""Who may import whom: every room of the package opens its doors downward only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vsedvr"
MAY_IMPORT = {
    "atomic": set[str](),
    "finding": set[str](),
    "timeline": set[str](),
    "ops": {"finding"},
    "model": {"ops"},
    "weights": {"model", "atomic", "finding"},
    "infer": {"model", "ops", "timeline", "finding"},
    "data": {"timeline", "atomic"},
    "compare": {"model", "infer", "weights", "data", "atomic", "timeline"},
    "inspection": {"model", "infer", "data", "atomic", "timeline", "compare"},
    "evaluation": {"model", "infer", "data", "atomic", "timeline", "compare"},
    "train": {"model", "weights", "infer", "data", "compare", "evaluation", "atomic", "timeline"},
    "filter": {"model", "infer", "weights", "timeline", "finding"},
    "restore": {"filter", "infer", "weights", "timeline", "atomic", "data", "finding"},
    "export": {"model", "ops", "weights", "atomic"},
    "cli": {
        "restore",
        "export",
        "ops",
        "infer",
        "weights",
        "filter",
        "data",
        "evaluation",
        "train",
        "atomic",
        "timeline",
        "compare",
        "inspection",
        "finding",
    },
}
FRONT_DOOR = {"cli"}
ONLY_IN = {"vapoursynth": {"filter", "restore", "cli"}, "cupy": {"ops"}, "torchvision": {"ops"}}
ONLY_IN_FILE = {
    "asyncio": "restore/cluster.py",
    "dask": "restore/cluster.py",
    "distributed": "restore/cluster.py",
    "gdown": "weights/download.py",
    "onnx": "export.py",
    "onnxruntime": "export.py",
    "onnxscript": "export.py",
    "requests": "weights/download.py",
}
NETWORK = {
    *("aiohttp", "ftplib", "http", "httpx", "pooch", "smtplib", "socket", "socketserver", "ssl", "urllib3", "websockets"),
    *("urllib.request", "torch.hub", "huggingface_hub", "xmlrpc"),
}
"""Modules that open connections. cluster.py leaves this to distributed, and download.py to gdown."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str) -> Iterator[list[str]]:
    """Imports as lists of name parts, wherever in a file they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write 'from vsedvr.room import name', not 'from .room'"
            assert node.module is not None
            if node.module == "vsedvr":
                yield from (["vsedvr", alias.name] for alias in node.names)
            else:
                yield node.module.split(".")


def wrong_imports(room: str, source: str) -> list[str]:
    wrong = []
    for top, *rest in imports(source):
        if room not in ONLY_IN.get(top, {room}):
            wrong.append(top)
        if top != "vsedvr":
            continue
        target = rest[0] if rest else ""
        if target in MAY_IMPORT:
            if target not in MAY_IMPORT[room] | {room}:
                wrong.append(f"vsedvr.{target}")
        elif room not in FRONT_DOOR:
            wrong.append(f"the front door ({target})")
    return wrong


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if not room_of(path).startswith("__")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_follow_the_layering(path: Path) -> None:
    assert wrong_imports(room_of(path), path.read_text()) == []


@pytest.mark.parametrize(("module", "only"), ONLY_IN_FILE.items())
def test_some_libraries_are_behind_one_file(module: str, only: str) -> None:
    files = [path for path in PACKAGE.rglob("*.py") if [module] in (names[:1] for names in imports(path.read_text()))]
    assert [path.relative_to(PACKAGE).as_posix() for path in files] == [only]


def test_nothing_else_opens_a_connection() -> None:
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        for names in imports(source):
            assert not {".".join(names[:k]) for k in (1, 2)} & NETWORK, path
        assert "torch.hub" not in source, path


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("export", "from vsedvr.infer import Engine", ["vsedvr.infer"]),
        ("model", "from vsedvr.weights import load_model", ["vsedvr.weights"]),
        ("infer", "def f():\n    import vapoursynth", ["vapoursynth"]),
        ("weights", "from vsedvr import EDVR", ["the front door (EDVR)"]),
        ("ops", "import torchvision.ops, cupy", []),
        ("train", "from vsedvr.infer.engine import Engine", []),
    ],
)
def test_a_wrong_door_is_found(room: str, source: str, wrong: list[str]) -> None:
    assert wrong_imports(room, source) == wrong
