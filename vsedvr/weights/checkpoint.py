"""Reads the tensors of a checkpoint file. Nothing in the file is ever executed."""

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

__all__ = ["CheckpointError", "read_state_dict"]

WRAPPERS = ("params_ema", "params", "state_dict")
PREFIXES = ("module.", "generator.")


class CheckpointError(ValueError):
    """A file that cannot be loaded as an EDVR checkpoint; the message says why and what to do."""


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a .pth, .pt, .ckpt or .safetensors file by key, without wrappers and prefixes.

    The kind of file is told from its content, not its name. `params_ema` goes before `params`, that before `state_dict`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is not a checkpoint, is damaged, or holds anything but plain data.
    """
    path = Path(path)
    head = _read_head(path)
    content = _read_safetensors(path) if _is_safetensors(head) else _read_pickle(path, head)
    return _strip_prefixes(_unwrap(content, path))


def _read_head(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file inside it")
    with path.open("rb") as file:
        head = file.read(256)
    if not head:
        raise CheckpointError(f"{path} is empty; download it again")
    if head.lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
        raise CheckpointError(f"{path} is a web page, not a checkpoint: the download gave an HTML page; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not a checkpoint; fetch the file itself with 'git lfs pull'")
    return head


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of header length, then JSON."""
    return head[8:9] == b"{"


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged or truncated safetensors file; download it again ({error})") from error


def _read_pickle(path: Path, head: bytes) -> Any:
    if not head.startswith((b"PK", b"\x80")):
        raise CheckpointError(f"{path} is neither a PyTorch nor a safetensors file (it begins with {head[:8]!r})")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's guesses about odd files; the errors say it better
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain data, so it was not loaded: it could run code. If you trust it, load it "
            f"in a Python of its own and save the state dict alone with torch.save ({_first_line(error)})"
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError and others on damaged files
        raise CheckpointError(f"{path} is damaged or truncated; download it again ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # a bound, since a pickle may contain itself
        if isinstance(content, dict):
            content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), content)
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors: it is not a checkpoint of a network")
    return tensors


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys without `module.` and `generator.`; where there is a generator, nothing else in the file belongs to it."""
    for _ in PREFIXES:  # they come in either order
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            tensors = inside or tensors
    tensors.pop("step_counter", None)  # mmagic's count of iterations
    return tensors
