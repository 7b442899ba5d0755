"""Reads files of torch.save: a zip archive with a pickle and storages (since PyTorch 1.6), or pickles followed by storages.

A storage is read only when one of its tensors is asked for, so the state of an optimiser costs nothing.
"""

import io
import struct
import sys
import zipfile
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from vsedvr.weights.error import CheckpointError
from vsedvr.weights.inert import Global, Object, Persistent, Pickle, as_bytes, read_pickle
from vsedvr.weights.others import check_names, describe_zip
from vsedvr.weights.tensors import STORAGE_DTYPES, rebuild

__all__ = ["TorchFile", "open_pickle", "open_zip"]

MAGIC = 0x1950A86A20F9469CFC6C
"""Number in the first pickle of a file that a PyTorch before 1.6 wrote."""
GROWTH, FLOOR = 16, 64 << 20
"""Memory allowed for a file's tensors: GROWTH times its size, at least FLOOR bytes; a zip could claim any size."""


class Storages(Protocol):
    """Access to the storages of a file by their keys."""

    def size(self, key: str) -> int:
        """Size of a storage in bytes; raises KeyError if there is no such storage."""

    def read(self, key: str) -> bytes:
        """Reads the bytes of a storage."""


class TorchFile:
    """Content of a file as inert records, from which its tensors are built on demand."""

    def __init__(self, pickle: Pickle, storages: Storages, size: int) -> None:
        """
        Raises:
            CheckpointError: if the pickle names a function that only hostile files name.
        """
        check_names(pickle.names)
        self.content = pickle.value
        self.storages = storages
        self.budget = max(GROWTH * size, FLOOR)
        self.latest: tuple[str | None, bytearray] = (None, bytearray())

    def tensor(self, record: Any) -> Tensor:
        """Builds the tensor of a record in the content, on the CPU, in its stored data type.

        Raises:
            CheckpointError: if the record is no valid tensor, or its storage is missing or too small.
        """
        tensor = rebuild(record, self._storage, self.budget)
        self._spend(tensor.nbytes)
        return tensor

    def _storage(self, record: Any) -> tuple[bytearray, torch.dtype | None]:
        if isinstance(record, Object) and record.made_by == "torch.storage._load_from_bytes":
            return _nested(record)
        kind, key, count = _parse_storage(record)
        dtype = _dtype(kind)
        if key != self.latest[0]:  # the latest storage is kept, since many tensors may be views of it
            try:
                size = self.storages.size(key)
            except KeyError as error:
                raise CheckpointError(f"is damaged or truncated: its storage {key} is missing; download it again") from error
            if size != count * (dtype.itemsize if dtype else 1):
                raise CheckpointError("is damaged or truncated: a storage has another size than it should; download it again")
            self._spend(size)
            self.latest = key, bytearray(self.storages.read(key))
        return self.latest[1], dtype

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise CheckpointError("claims to hold far more numbers than fit a file of its size; it is damaged or hostile")


def open_zip(file: BinaryIO, size: int) -> TorchFile:
    """Opens a file written by PyTorch 1.6 or later.

    Args:
        file: the file, open for reading; it must stay open while tensors are read.
        size: size of the file in bytes.

    Raises:
        CheckpointError: if the archive holds something else; the message says what.
        Exception: one of zipfile's many types of error, if the archive is damaged.
    """
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    root = next((name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"), None)
    if root is None or f"{root}constants.pkl" in names:
        raise CheckpointError(describe_zip(names))
    if f"{root}byteorder" in names and archive.open(f"{root}byteorder").read(8).decode() != sys.byteorder:
        raise CheckpointError("was written on a machine with another order of bytes; load it there and save it as safetensors")
    if archive.getinfo(f"{root}data.pkl").file_size > max(GROWTH * size, FLOOR):
        raise CheckpointError("claims to hold a pickle far larger than fits a file of its size; it is damaged or hostile")
    content = archive.read(f"{root}data.pkl")
    return TorchFile(read_pickle(io.BytesIO(content), len(content)), _ZipStorages(archive, f"{root}data/"), size)


def open_pickle(file: BinaryIO, size: int) -> TorchFile:
    """Opens a file written by a PyTorch before 1.6, or a pickle made without torch.save.

    Args:
        file: the file, open for reading; it must stay open while tensors are read.
        size: size of the file in bytes.

    Raises:
        CheckpointError: if the file was written on a machine with another byte order.
        ValueError: if the file is damaged.
    """
    first = read_pickle(file, size)
    if first.value != MAGIC:
        return TorchFile(first, _TailStorages(file, {}), size)
    read_pickle(file, size)  # this skips the format's version, which has always been 1001
    system = read_pickle(file, size).value
    if isinstance(system, dict) and system.get("little_endian") != (sys.byteorder == "little"):
        raise CheckpointError("was written on a machine with another order of bytes; load it there and save it as safetensors")
    content = read_pickle(file, size)
    item_sizes = {}
    for record in content.persistent:
        if isinstance(record.id, tuple) and record.id[:1] == ("storage",):
            kind, key, _ = _parse_storage(record)
            dtype = _dtype(kind)
            item_sizes[key] = dtype.itemsize if dtype else 1
    places = {}
    for key in read_pickle(file, size).value:
        (count,) = struct.unpack("<q", file.read(8))
        places[key] = file.tell(), count * item_sizes[key]
        if count < 0 or sum(places[key]) > size:
            raise ValueError("a storage reaches beyond the end")
        file.seek(sum(places[key]))
    return TorchFile(content, _TailStorages(file, places), size)


class _ZipStorages:
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self.archive, self.folder = archive, folder

    def size(self, key: str) -> int:
        return self.archive.getinfo(self.folder + key).file_size

    def read(self, key: str) -> bytes:
        return self.archive.read(self.folder + key)


class _TailStorages:
    def __init__(self, file: BinaryIO, places: dict[str, tuple[int, int]]) -> None:
        self.file, self.places = file, places

    def size(self, key: str) -> int:
        return self.places[key][1]

    def read(self, key: str) -> bytes:
        start, size = self.places[key]
        self.file.seek(start)
        return self.file.read(size)


def _nested(record: Object) -> tuple[bytearray, torch.dtype | None]:
    """Reads a storage from a pickle made without torch.save, which embeds it as a file of torch.save of its own."""
    data = as_bytes(record.args[0])
    inner = open_pickle(io.BytesIO(data), len(data))
    if not isinstance(inner.content, Persistent):
        raise CheckpointError("is damaged: a storage in it is none; download it again")
    return inner._storage(inner.content)


def _parse_storage(record: Any) -> tuple[str, str, int]:
    """Reads the record of a storage: (name of its class, its key, how many numbers it holds)."""
    match record:
        case Persistent(id=("storage", Global(name=name), str(key), _, int(count), *view)) if not any(view):
            return name, key, count
    raise CheckpointError("is damaged: a tensor in it has no storage; download it again")


def _dtype(kind: str) -> torch.dtype | None:
    name = kind.rpartition(".")[2]
    if name not in STORAGE_DTYPES and name != "UntypedStorage":
        raise CheckpointError(f"holds quantised or otherwise special numbers ({name}); give weights of fp32, fp16 or bf16")
    return STORAGE_DTYPES.get(name)
