"""Finds the file that a model's name or path means."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vsedvr.weights.zoo import EMBEDDED, ZOO, Entry, entry_of, models_folder

__all__ = ["find_model", "missing_entry"]


def find_model(path_or_name: str | bytes | os.PathLike[Any]) -> Path:
    """Returns the path of a model's file.

    A name is looked up among the embedded models, then among the files in the models folder (zoo.models_folder). Anything
    else is a path, in which "~" is the home folder.

    Raises:
        FileNotFoundError: if there is no such file. The message says how to get it if the zoo knows the name, and names the
            nearest model otherwise.
        ValueError: if path_or_name is neither a path nor a name.
    """
    if not isinstance(path_or_name, str | bytes | os.PathLike):
        raise ValueError(_wrong_model(path_or_name))
    text = os.fsdecode(path_or_name)
    if isinstance(path_or_name, str) and (file := _file_of_name(text)):
        return file
    if text.startswith(("http://", "https://", "file://")):
        raise ValueError(f"a model is a file or a name, not an address; download it and give its path: {text[:200]!r}")
    path = Path(os.path.expanduser(text))
    exists = os.path.isfile if text in ZOO else os.path.exists  # a folder named like a model may hold a training of it
    if text and exists(path):
        return path
    if isinstance(path_or_name, str) and text in ZOO:
        raise FileNotFoundError(_ways_to_get(ZOO[text]))
    raise FileNotFoundError(
        f"no checkpoint at {str(path)[:200]!r}; embedded models: {', '.join(EMBEDDED)}; `vsedvr models` lists the published "
        f"ones{_hint(text)}"
    )


def missing_entry(path_or_name: object) -> Entry | None:
    """Returns the zoo's entry of a name for which there is no file yet, neither in the models folder nor at that path."""
    entry = ZOO.get(path_or_name) if isinstance(path_or_name, str) else None
    return entry if entry and not entry.path() and not os.path.isfile(entry.name) else None


def _file_of_name(name: str) -> Path | None:
    """File of an embedded model, of a model of the zoo, or of one that was imported under this name."""
    if name in ZOO:
        return ZOO[name].path()
    if not re.fullmatch(r"[\w][\w.+-]{0,200}", name):  # no name but a path
        return None
    file = models_folder() / f"{name}.safetensors"
    return file if file.is_file() else None


def _ways_to_get(entry: Entry) -> str:
    missing = f"the model {entry.name} is not on this computer (looked in {models_folder()})"
    if not entry.urls:
        return f"{missing}. {entry.by_hand}"
    return (
        f"{missing}; `vsedvr models get {entry.name}` downloads it, about {entry.megabytes:.0f} MB, or auto_download=True does "
        "when the filter is created"
    )


def _hint(text: str) -> str:
    """What was probably meant, as the end of a message."""
    near = text.strip().strip("'\"")
    entry = entry_of(near)
    if entry and entry.name != near:
        return f"; it is the file of {entry.name}, which `vsedvr models get {entry.name}` downloads"
    names = difflib.get_close_matches(near.lower(), ZOO, 1, cutoff=0.8)
    if names:
        return f"; did you mean {names[0]!r}?"
    if near != text and near and os.path.exists(os.path.expanduser(near)):
        return f"; did you mean {near!r}?"
    return ""


def _wrong_model(value: object) -> str:
    """Error text for a value that is neither a path nor a name; the value itself is left out, as it may be a network."""
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return (
            f"a model is a path or a name, got a {kind}; save it with torch.save and give the path, or put it into a "
            "network: model = EDVR(EDVRConfig(...)); model.load_state_dict(...)"
        )
    if isinstance(value, torch.nn.Module):
        return f"a model is a path or a name, got a network ({kind}); an EDVR needs no loading"
    return f"a model is a path or a name, got a value of the type {kind}"
