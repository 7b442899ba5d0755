"""What a training writes: its whole state, to go on exactly where it stopped, and the model that comes out of it."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vsedvr.atomic import write_whole
from vsedvr.model import EDVR

__all__ = ["load_state", "save_model", "save_state"]


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain values, in torch's format; the file is whole or not there."""
    file = io.BytesIO()
    torch.save(state, file)
    write_whole(path, file.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """What save_state wrote; nothing in the file is executed.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or holds anything but plain data.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no training to resume at {path}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged or holds more than plain data, so it was not loaded") from error
    return state


def save_model(path: Path, model: EDVR, record: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Weights as safetensors with BasicSR's keys; record goes into the file's metadata as JSON under "training"."""
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    metadata = {"format": "pt", "training": json.dumps(record, allow_nan=False)}
    write_whole(path, save(tensors, metadata))
