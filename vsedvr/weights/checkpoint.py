"""Reads the weights of an EDVR from a checkpoint file of any kind. Nothing in the file is ever executed."""

from pathlib import Path
from typing import Any, BinaryIO

from safetensors import safe_open
from torch import Tensor

from vsedvr.weights.error import CheckpointError
from vsedvr.weights.others import HEAD, describe_architecture, describe_head
from vsedvr.weights.search import choose_network, name_tensors
from vsedvr.weights.torch_file import TorchFile, open_pickle, open_zip

__all__ = ["read_state_dict"]

OWN_STATE = {"ema", "iteration", "optimizer", "record"}
"""Keys of last.pt, the file from which `vsedvr train --resume` continues."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the weights of the EDVR in a .pth, .pt, .ckpt or .safetensors file into the CPU's memory, as they are stored.

    The kind of file is told from its content, not from its name. The network is found by the names of its weights, at any
    depth (search.choose_network says which one is taken if there are several); prefixes of these names are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file holds no EDVR, is damaged, cannot be read, or is malicious.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"is a folder; give the checkpoint file inside it{_unpacked(path)}")
        if path.exists() and not path.is_file():
            raise CheckpointError("is no file but a pipe or a device; save the checkpoint to a file first")
        with path.open("rb") as file:
            return _read(file, path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error.__cause__
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged files make the libraries for zip and safetensors raise errors of many types
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        raise CheckpointError(f"{path} is damaged or truncated; download it again ({reason})") from error


def _unpacked(folder: Path) -> str:
    unpacked = (folder / "data.pkl").is_file() or any(folder.glob("*/data.pkl"))
    return ". It is a checkpoint that was unpacked, as some browsers do; download it again without that" if unpacked else ""


def _read(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    head = file.read(HEAD)
    size = file.seek(0, 2)
    file.seek(0)
    if head[8:9] == b"{":  # a safetensors file begins with eight bytes of length, followed by JSON
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_torch(open_zip(file, size))
    if head.startswith(b"\x80"):
        return _read_torch(open_pickle(file, size))
    raise CheckpointError(describe_head(head))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt", device="cpu") as file:
        network = _choose(list(file.keys()))
        return {name: file.get_tensor(full) for name, full in network.items()}


def _read_torch(file: TorchFile) -> dict[str, Tensor]:
    if isinstance(file.content, dict) and file.content.keys() >= OWN_STATE:
        raise CheckpointError(
            "is the state of a training by vsedvr, for --resume; give last.safetensors or best.safetensors in the same folder"
        )
    records: dict[str, Any] = {}
    for name, record in name_tensors(file.content):
        records.setdefault(name, record)
    network = _choose(list(records))
    weights = {}
    for name, full in network.items():
        try:
            weights[name] = file.tensor(records[full])
        except CheckpointError as error:
            raise CheckpointError(f"{error} (at {full})") from error.__cause__
    return weights


def _choose(names: list[str]) -> dict[str, str]:
    if not names:
        raise CheckpointError("holds no tensors: it is not a checkpoint of a network")
    network = choose_network(names)
    if network is None or any("PCD_Align_" in name for name in network):
        raise CheckpointError(describe_architecture(names))
    return network
