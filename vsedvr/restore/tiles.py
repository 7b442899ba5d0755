"""Chooses the tiles of a job once, so that they fit the smallest device and all processes restore frames in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import vapoursynth as vs

from vsedvr.infer import PRECISIONS, Tiling, choose_device, choose_precision, choose_tiling, memory_budget
from vsedvr.restore.facts import Source
from vsedvr.restore.settings import RestoreSettings, device_index
from vsedvr.weights import load_model

__all__ = ["Room", "choose_tiles", "room_of"]


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


def choose_tiles(source: Source, settings: RestoreSettings, rooms: Sequence[Room]) -> list[tuple[int, int]]:
    """Chooses the tiles of each model: those that the user gave, or the largest that fit in memory.

    Args:
        source: facts of the source.
        settings: settings of the user, with the models.
        rooms: device and memory of each process that restores; the tiles fit into each.

    Returns:
        (width, height) in pixels for each model; (0, 0) for whole frames.

    Raises:
        ValueError: if a model cannot be loaded.
    """
    height, width = source.height, source.width
    tiles = []
    for model in settings.models:
        try:
            config = load_model(model).config
        except OSError as error:
            raise ValueError(f"the model {model} cannot be loaded: {error}") from error
        whole = Tiling.whole(height, width, config)
        fitting = [
            choose_tiling(whole, _dtype(room, source, settings), torch.device(room.device), room.budget) for room in rooms
        ]
        smallest = min(fitting, key=lambda tiling: tiling.tiles[0].area)
        tiles.append(settings.tile or ((0, 0) if smallest is whole else smallest.tile))
        height, width = height * config.scale, width * config.scale
    return tiles


def _dtype(room: Room, source: Source, settings: RestoreSettings) -> torch.dtype:
    exact = settings.precision is None and source.format == "RGBS"
    return torch.float32 if exact else PRECISIONS[room.precision]
