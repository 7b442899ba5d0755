"""Reads and writes the state of a training, to resume it exactly, and writes the trained model."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vsedvr.atomic import write_whole
from vsedvr.model import EDVR

__all__ = ["load_state", "save_model", "save_state"]

PARTS = ("model", "ema", "optimizer", "scaler", "iteration", "record")
"""Keys of a state that every version of vsedvr has written."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors and plain values in PyTorch's format.

    Raises:
        OSError: if writing fails; the message names the file, and a previous state is kept.
    """
    file = io.BytesIO()  # if PyTorch wrote the file itself, a full disk would raise a RuntimeError that does not say so
    torch.save(state, file)
    write_whole(path, file.getvalue())  # with getbuffer(), Python 3.12 crashes after an OSError


def load_state(path: Path) -> dict[str, Any]:
    """Reads a state that save_state wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged, contains anything but plain data, or is not a state of a training; the message names the
            file and says what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no training to resume: there is no file {path}")
    weights = path.with_suffix(".safetensors")
    way_out = f"a new training can begin from the saved weights: --init {weights}" if weights.exists() else "begin anew"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of almost any type
        raise ValueError(f"{path} is damaged or holds more than plain data, so it was not loaded; {way_out}") from error
    if not _is_state(state):
        raise ValueError(f"{path} is not the state of a training by vsedvr; {way_out}")
    return state


def _is_state(content: Any) -> bool:
    if not isinstance(content, dict) or any(part not in content for part in PARTS):
        return False
    record = content["record"]
    return isinstance(record, dict) and isinstance(record.get("preset"), dict) and "data" in record


def save_model(path: Path, model: EDVR, record: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Writes weights as safetensors with BasicSR's keys. The record becomes metadata of the file, as JSON under "training".

    Raises:
        OSError: if writing fails; the message names the file.
        ValueError: if the record has numbers that JSON lacks, such as infinity.
    """
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    metadata = {"format": "pt", "training": json.dumps(record, allow_nan=False)}
    write_whole(path, save(tensors, metadata))
