"""Imports a checkpoint of any format: writes it as safetensors with BasicSR's names, with a record of where it came from."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save

from vsedvr.atomic import write_whole
from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.formats import to_basicsr
from vsedvr.weights.load import load_model
from vsedvr.weights.verify import hash_weights, identify, sha256_of
from vsedvr.weights.zoo import ZOO, entry_of, models_folder

__all__ = ["import_checkpoint"]


def import_checkpoint(source: Path, target: Path | None = None) -> Path:
    """Writes the weights of an EDVR checkpoint to a safetensors file, in the data type in which they are stored.

    The file's metadata hold the name and the SHA-256 of the source, the name of the published model that it is (if it is
    one), the network's hyper-parameters, and a SHA-256 of the weights.

    Args:
        source: an EDVR checkpoint of any format.
        target: the file to write; by default one in the models folder, named after the published model or after the source.

    Returns:
        The path of the written file.

    Raises:
        FileNotFoundError: if there is no such source.
        FileExistsError: if there is something at the target.
        CheckpointError: if the source is no whole, sound EDVR checkpoint.
        ValueError: if the target does not end in .safetensors, or the name is that of another model.
        OSError: if the file cannot be written.
    """
    network = load_model(source).config  # which checks it all
    entry = identify(source)
    if target is None:
        target = models_folder() / f"{entry.name if entry else _free_name(source)}.safetensors"
    if target.suffix != ".safetensors":
        raise ValueError(f"an imported model must have a name that ends in .safetensors, got {target}")
    if target.exists():
        raise FileExistsError(f"{target} exists already; remove it, or give another file with -o")
    tensors = read_state_dict(source)
    names = to_basicsr(tensors)
    weights = {names[key]: value.contiguous() for key, value in tensors.items()}
    metadata = {
        "format": "pt",
        "source": source.name,
        "source_sha256": sha256_of(source),
        "model": entry.name if entry else "",
        "network": json.dumps(asdict(network)),
        "weights_sha256": hash_weights(weights),
    }
    write_whole(target, save(weights, metadata))
    return target


def _free_name(source: Path) -> str:
    """The source's name without its ending, where no model of the zoo has it."""
    claimed = entry_of(source.name) or ZOO.get(source.stem)
    if claimed:
        raise ValueError(f"{source} has the name of {claimed.name} and is another model; rename it, or give a file with -o")
    return source.stem
