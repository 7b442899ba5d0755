"""Chooses the tiles of a job once, so that they fit the smallest device and all processes restore frames in the same way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import vapoursynth as vs

from vsedvr.infer import PRECISIONS, Tiling, choose_device, choose_precision, choose_tiling, memory_budget
from vsedvr.restore.facts import Source
from vsedvr.restore.settings import RestoreSettings, device_index
from vsedvr.weights import load_model

__all__ = ["Room", "choose_tile", "room_of"]


@dataclass(frozen=True)
class Room:
    """Device, precision and memory of a process that restores. It can be sent to another machine."""

    device: str
    """Type of the device: "cpu" or "cuda"."""
    precision: str
    """Name of the floating-point type in which clips of integer samples are restored."""
    budget: int
    """Number of bytes that the engine may use."""


def room_of(device: str | None, precision: str | None) -> Room:
    """Returns device, precision and memory of this process.

    Args:
        device: device, as in RestoreSettings.
        precision: precision, as in RestoreSettings.

    Raises:
        ValueError: if there is no such device or precision.
    """
    chosen = choose_device(device_index(device))
    dtype = choose_precision(precision, chosen, exact_input=False)
    name = next(name for name, known in PRECISIONS.items() if known == dtype)
    return Room(chosen.type, name, memory_budget(chosen, vs.core.max_cache_size << 20))


def choose_tile(source: Source, settings: RestoreSettings, rooms: Sequence[Room]) -> tuple[int, int]:
    """Chooses the tiles: those that the user gave, or the largest that fit in memory.

    Args:
        source: facts of the source.
        settings: settings of the user, with the models.
        rooms: device and memory of each process that restores; the tiles fit into each, with each model.

    Returns:
        (width, height) in pixels of the source, also for a second model, which restores the enlarged picture; (0, 0) for
        whole frames.

    Raises:
        ValueError: if a model cannot be loaded.
    """
    fitting: list[tuple[int, int]] = []
    factor = 1
    for model in settings.models:
        try:
            config = load_model(model).config
        except OSError as error:
            raise ValueError(f"the model {model} cannot be loaded: {error}") from error
        whole = Tiling.whole(factor * source.height, factor * source.width, config)
        for room in rooms:
            dtype, budget = _dtype(room, source, settings), room.budget // len(settings.models)
            tiling = choose_tiling(whole, dtype, torch.device(room.device), budget, settings.ensemble)
            fitting.append((-(-tiling.tile[0] // factor), -(-tiling.tile[1] // factor)))
        factor *= config.scale
    width, height = min(fitting, key=math.prod)
    return settings.tile or ((0, 0) if (width, height) == (source.width, source.height) else (width, height))


def _dtype(room: Room, source: Source, settings: RestoreSettings) -> torch.dtype:
    exact = settings.precision is None and source.format == "RGBS"
    return torch.float32 if exact else PRECISIONS[room.precision]
