"""Tells whether a file is a model of the zoo, and whether it is whole."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.error import CheckpointError
from vsedvr.weights.findings import released_hashes
from vsedvr.weights.load import load_model
from vsedvr.weights.zoo import ZOO, Entry

__all__ = ["file_problem", "hash_weights", "identify", "published_problem", "read_metadata", "sha256_of"]


def published_problem(path: Path, entry: Entry) -> str:
    """Compares a file with the released file of a model, whatever the file's name is.

    Where a hash is known it decides. Otherwise the file must be a sound checkpoint of the model's network.

    Returns:
        What is wrong with the file, such as "is damaged or truncated", or an empty string.

    Raises:
        OSError: if the file cannot be read.
    """
    sha256 = released_hashes()[entry.name] if entry.is_embedded else entry.sha256
    if not sha256:
        return _problem(path, entry)
    found = sha256_of(path)
    if found.startswith(sha256):
        return ""
    return _problem(path, None) or f"is another file: its SHA-256 begins with {found[:8]}, not with {sha256[:8]}"


def file_problem(path: Path, entry: Entry | None) -> str:
    """Looks whether a file is whole: one that was downloaded, one that was imported, or any other checkpoint of an EDVR.

    Args:
        path: the file.
        entry: the model of the zoo that the file should be, if it is one.

    Returns:
        What is wrong with the file, or an empty string.

    Raises:
        OSError: if the file cannot be read.
    """
    if entry and path.name == entry.file:
        return published_problem(path, entry)
    problem = _problem(path, entry)
    if problem:
        return problem
    recorded = read_metadata(path).get("weights_sha256")
    if recorded and recorded != hash_weights(read_state_dict(path)):
        return "holds weights that are damaged or were changed since they were imported"
    return ""


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata of a safetensors file; a file of another kind has none."""
    try:
        with safe_open(path, "pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}


def identify(path: Path) -> Entry | None:
    """Returns the published model of the zoo that a file holds, or None: told by hash, or by name and network without one."""
    found = sha256_of(path)
    for entry in ZOO.values():
        if entry.sha256 and found.startswith(entry.sha256):
            return entry
        if path.name == entry.file and not entry.sha256 and not entry.is_embedded and not _problem(path, entry):
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


def _problem(path: Path, entry: Entry | None) -> str:
    """What is wrong with a file that should be an EDVR, and that of the entry if there is one; or an empty string."""
    try:
        config = load_model(path, center_frame_idx=entry.network.center_frame_idx if entry else None).config
    except CheckpointError as error:
        return str(error).removeprefix(f"{path} ")
    return "" if not entry or config == entry.network else f"holds another network than {entry.name} has: {config}"
