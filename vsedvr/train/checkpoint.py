"""What a training writes: its whole state, to go on exactly where it stopped, and the model that comes out of it."""

import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vsedvr.data.atomic import write_whole
from vsedvr.model import EDVR
from vsedvr.weights import load_model

__all__ = ["initialize", "load_state", "save_model", "save_state"]

logger = logging.getLogger("vsedvr")


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


def initialize(model: EDVR, checkpoint: str) -> None:
    """Takes over what fits of a trained network, which may be shallower or without TSA (paper, section 4.1).

    Residual blocks are taken in turn: the i-th of n from the i-th modulo m of a network with m. The rest stays as it is:
    from a network without TSA that is the fusion.

    Raises:
        ValueError: if its width or its deformable groups are others, so that the alignment does not fit.
    """
    donor = load_model(checkpoint)
    counts = {"feature_extraction": donor.config.num_extract_block, "reconstruction": donor.config.num_reconstruct_block}
    trained, own = donor.state_dict(), model.state_dict()
    taken = {}
    for key, value in own.items():
        blocks, _, rest = key.partition(".")
        if blocks in counts:
            i, _, rest = rest.partition(".")
            key_there = f"{blocks}.{int(i) % max(counts[blocks], 1)}.{rest}"
        else:
            key_there = key
        if key_there in trained and trained[key_there].shape == value.shape:
            taken[key] = trained[key_there]
    if "pcd_align.cas_dcnpack.conv_offset.weight" not in taken:
        there, wanted = donor.config, model.config
        raise ValueError(
            f"{checkpoint} has num_feat {there.num_feat} and deformable_groups {there.deformable_groups}; "
            f"to begin from it the network must have the same, not {wanted.num_feat} and {wanted.deformable_groups}"
        )
    fresh = sorted({key.split(".")[0] for key in own.keys() - taken.keys()})
    logger.info("begins from %s; fresh: %s", checkpoint, ", ".join(fresh) or "nothing")
    model.load_state_dict({**own, **taken})
