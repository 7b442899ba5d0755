"""Helpers for the tests of checkpoints: a small network, files that contain it, and a comparison of networks."""

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import random_model
from vsedvr.weights import CheckpointError, load_model

SOUND: dict[str, Tensor] = random_model().state_dict()
WRONG = {key: torch.zeros_like(value) for key, value in SOUND.items()}


def prefixed(prefix: str, tensors: dict[str, Tensor] = SOUND) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in tensors.items()}


def save(path: Path, content: Any, **settings: Any) -> Path:
    torch.save(content, path, **settings)
    return path


def dump(path: Path, content: Any, protocol: int) -> Path:
    """Writes a plain pickle, without torch.save."""
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def assert_sound(path: Path, expected: dict[str, Tensor] = SOUND) -> None:
    """Asserts that the file loads as the network of SOUND, bit for bit."""
    loaded = load_model(path).state_dict()
    assert loaded.keys() == expected.keys()
    for key, value in loaded.items():
        assert value.dtype == torch.float32
        assert value.is_contiguous()
        assert torch.equal(value, expected[key].float()), key


def error_of(path: Path) -> str:
    """Loads a file, which must fail; returns the message, which must name the file."""
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@contextmanager
def module_of_others(name: str) -> Iterator[ModuleType]:
    """Makes a module that can be imported while a file is saved, and no longer exists when the file is loaded."""
    parts = name.split(".")
    names = [".".join(parts[: k + 1]) for k in range(len(parts))]
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        sys.modules[name] = ModuleType(name)
    try:
        yield sys.modules[names[-1]]
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def add_class(module: ModuleType, name: str, base: type = object) -> Any:
    """Adds a class to the module, as if it were defined there."""
    made = type(name, (base,), {"__module__": module.__name__})
    setattr(module, name, made)
    return made
