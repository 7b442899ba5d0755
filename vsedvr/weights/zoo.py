"""The zoo: every public EDVR checkpoint and the models of this package, by name, and the folder where files of them are kept.

What is known of each model stands in zoo.toml.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from vsedvr.model import EDVRConfig

__all__ = ["EMBEDDED", "ZOO", "Entry", "Figure", "embedded_file", "entry_of", "known_padding", "models_folder"]


@dataclass(frozen=True)
class Figure:
    """A published score of a model: the mean over all clips of a benchmark, all frames counted and no border left out."""

    benchmark: str
    """Name of the benchmark, as `vsedvr eval` has it."""
    channel: str
    """Channels that were compared: "rgb", or "y" for luma."""
    psnr: float
    """PSNR in dB."""
    ssim: float
    source: str
    """Page or paper where the score was published."""


@dataclass(frozen=True)
class Entry:
    """What is known of a model of the zoo."""

    name: str
    file: str
    """File name under which the model was published."""
    task: str
    """What the model restores and, in brackets, the data set that it was trained on."""
    network: EDVRConfig
    megabytes: float
    """Approximate size of the file, in MB of 1,000,000 bytes."""
    padding: str
    """Padding that the model was tested with: one of timeline.PADDINGS."""
    title: str
    """Name of the publisher."""
    keys: str
    """Key format of the file: "BasicSR", "EDVR of 2019" or "mmagic"."""
    licence: str
    """Licence of the publisher's repository; no other one is known for the weights."""
    page: str = ""
    """Web page on which the file can be found by hand; empty for embedded models."""
    urls: tuple[str, ...] = ()
    """Addresses of the file, in the order in which they are tried."""
    sha256: str = ""
    """SHA-256 of the published file: all 64 digits, or the first ones where only these are known, or empty."""
    refines: str = ""
    """Name of the first stage, if the model is a second stage: it restores the results of the first."""
    figures: tuple[Figure, ...] = ()

    @property
    def is_embedded(self) -> bool:
        """Whether the model is in the package, so that it needs no download."""
        return self.title == "vsedvr"

    @property
    def by_hand(self) -> str:
        """Sentence that says how to get the file without this package's download."""
        return f"By hand: download {self.file} in a browser from {self.page}, then: vsedvr models import {self.file}"

    def path(self) -> Path | None:
        """Path of the model's file, as published or imported, or None if it is not on this computer."""
        if self.is_embedded:
            return embedded_file(self.name)
        paths = (models_folder() / self.file, models_folder() / f"{self.name}.safetensors")
        return next((path for path in paths if path.is_file()), None)


def _read_table() -> dict[str, Entry]:
    tables = tomllib.loads(Path(__file__).with_name("zoo.toml").read_text(encoding="utf-8"))
    return {name: _entry(name, model, tables["publishers"]) for name, model in tables["models"].items()}


def _entry(name: str, model: dict[str, Any], publishers: Mapping[str, dict[str, Any]]) -> Entry:
    own: dict[str, Any] = {
        "network": EDVRConfig(**model["network"]),
        "urls": tuple(model.get("urls", ())),
        "figures": tuple(Figure(**figure) for figure in model.get("figures", ())),
    }
    plain = {key: value for key, value in model.items() if key not in ("publisher", *own)}
    return Entry(name=name, **plain, **own, **publishers[model["publisher"]])


ZOO: dict[str, Entry] = _read_table()
"""All models of the zoo by name, the embedded ones first."""

EMBEDDED = {name: entry.task for name, entry in ZOO.items() if entry.is_embedded}
"""Names of the models inside the package, with what each of them restores."""


def embedded_file(name: str) -> Path:
    """Path of the file of an embedded model."""
    return Path(__file__).parent / "embedded" / f"{name}.safetensors"


def models_folder() -> Path:
    """Folder in which downloaded and imported models are kept: the environment's VSEDVR_MODELS, or the user's data folder."""
    chosen = os.environ.get("VSEDVR_MODELS")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path("vsedvr", appauthor=False) / "models"


def entry_of(model: object) -> Entry | None:
    """Returns the zoo's entry of a model that is given by its name or by a path that ends in its published file name."""
    if isinstance(model, str) and model in ZOO:
        return ZOO[model]
    if not isinstance(model, str | bytes | os.PathLike):
        return None
    file = os.path.basename(os.fsdecode(model))
    return next((entry for entry in ZOO.values() if entry.file == file and not entry.is_embedded), None)


def known_padding(model: object) -> str | None:
    """Returns the padding that a model of the zoo, given as to entry_of, was tested with; None for all other models."""
    entry = entry_of(model)
    return entry.padding if entry else None
