"""The tiles of a job: settled once, for the smallest of the devices that will restore, so that all restore frames the same."""

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
    """What a process has to restore in. It can be sent to another machine."""

    device: str
    """cpu or cuda."""
    precision: str
    """The name of the type that integer samples are restored in."""
    budget: int
    """Bytes that its engine may take."""


def room_of(device: str | None, precision: str | None) -> Room:
    """What this process has.

    Args:
        device, precision: as in RestoreSettings.

    Raises:
        ValueError: if there is no such device or precision.
    """
    chosen = choose_device(device_index(device))
    dtype = choose_precision(precision, chosen, exact_input=False)
    name = next(name for name, known in PRECISIONS.items() if known == dtype)
    return Room(chosen.type, name, memory_budget(chosen, vs.core.max_cache_size << 20))


def choose_tile(source: Source, settings: RestoreSettings, rooms: Sequence[Room]) -> tuple[int, int]:
    """(width, height) of the tiles: what was asked for, or the largest that fit.

    They are counted in pixels of the source, also for a second model, which restores an enlarged picture; (0, 0) stands for
    whole frames.

    Args:
        source: what is restored.
        settings: with which models.
        rooms: of the processes that restore; the tiles fit into each, with each model.

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
