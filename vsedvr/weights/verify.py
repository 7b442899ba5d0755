"""Tells whether a file is a model of the zoo, and whether it is whole."""

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.error import CheckpointError
from vsedvr.weights.load import load_model
from vsedvr.weights.zoo import ZOO, Entry

__all__ = ["file_problem", "hash_weights", "identify", "published_problem", "sha256_of"]


def published_problem(path: Path, entry: Entry) -> str:
    """Compares a file with the published file of a model, whatever the file's name is.

    Where a hash was published it decides. Otherwise the file must be a sound checkpoint of the model's network.

    Returns:
        What is wrong with the file, such as "is damaged or truncated", or an empty string.

    Raises:
        OSError: if the file cannot be read.
    """
    if entry.sha256:
        found = sha256_of(path)
        return "" if found.startswith(entry.sha256) else _what_else(path, found, entry)
    return _network_problem(path, entry)


def file_problem(path: Path, entry: Entry | None) -> str:
    """Looks whether a file in the models folder is whole: one that was downloaded, or one that was imported.

    Args:
        path: the file.
        entry: the model of the zoo that it should be, if it is one.

    Returns:
        What is wrong with the file, or an empty string.
    """
    if entry and path.name == entry.file:
        return published_problem(path, entry)
    try:
        with safe_open(path, "pt", device="cpu") as file:
            metadata = file.metadata() or {}
        if hash_weights(read_state_dict(path)) != metadata.get("weights_sha256"):
            return "its weights are damaged or were changed since it was imported"
    except CheckpointError as error:
        return str(error).removeprefix(f"{path} ")
    except Exception as error:  # safetensors raises errors of its own types
        return f"is damaged or truncated ({type(error).__name__})"
    return _network_problem(path, entry) if entry else ""


def identify(path: Path) -> Entry | None:
    """Returns the published model of the zoo that a file holds, or None: told by hash, or by name and network without one."""
    found = sha256_of(path)
    for entry in ZOO.values():
        if entry.sha256 and found.startswith(entry.sha256):
            return entry
        if path.name == entry.file and not entry.sha256 and not entry.is_embedded and not _network_problem(path, entry):
            return entry
    return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_weights(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the names and values of all weights, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def _network_problem(path: Path, entry: Entry) -> str:
    try:
        config = load_model(path, center_frame_idx=entry.network.center_frame_idx).config
    except CheckpointError as error:
        return str(error).removeprefix(f"{path} ")
    return "" if config == entry.network else f"holds another network than {entry.name} has: {config}"


def _what_else(path: Path, found: str, entry: Entry) -> str:
    """What a file is that is not the published one: if it is no checkpoint at all that says more than its hash."""
    try:
        read_state_dict(path)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path} ")
    digits = len(entry.sha256)
    return f"is another file: its SHA-256 begins with {found[:8]}, not with {entry.sha256[: min(digits, 8)]}"
