"""Two stages (section 3.4 of the paper): a second network restores the result of the first one."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vsedvr.infer.build import build_engine
from vsedvr.infer.engine import Engine
from vsedvr.infer.source import Load
from vsedvr.model import EDVR, EDVRConfig

__all__ = ["build_stages", "check_second_stage", "in_stages"]

Window = Callable[[int], Sequence[int]]
"""Function that returns the numbers of the frames that a frame is restored from."""


def check_second_stage(first: EDVRConfig, second: EDVRConfig) -> None:
    """
    Raises:
        ValueError: if the second network does not restore what the first one gives, in the same size.
    """
    if second.scale != 1:
        raise ValueError(
            f"refine must be a model that keeps the size, it enlarges {second.scale} times; "
            "give the one that enlarges as model, and one that keeps the size as refine"
        )
    if second.num_in_ch != first.num_out_ch:
        raise ValueError(f"refine must be a model of as many channels as model, {first.num_out_ch}; it has {second.num_in_ch}")


def build_stages(
    models: Sequence[EDVR],
    device: torch.device,
    dtype: torch.dtype,
    size: tuple[int, int],
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    reserved_bytes: int = 0,
    ensemble: int = 1,
) -> list[Engine]:
    """Builds an engine for each stage; together they take half of the free memory.

    Args:
        models: the networks, in the order in which they restore.
        device, dtype, reserved_bytes, ensemble: as for build_engine.
        size: (height, width) of the clip.
        tile, tile_pad: as for build_engine, in pixels of the clip. Where a stage before has enlarged the picture, tiles are as
            much larger.

    Raises:
        ValueError, MemoryError, RuntimeError: as build_engine.
    """
    engines: list[Engine] = []
    factor = 1
    for model in models:
        engine = build_engine(
            model,
            device,
            dtype,
            (factor * size[0], factor * size[1]),
            tile and (factor * tile[0], factor * tile[1]),
            None if tile_pad is None else factor * tile_pad,
            reserved_bytes,
            ensemble=ensemble,
            stages=len(models),
        )
        engines.append(engine)
        factor *= model.config.scale
    return engines


def in_stages(engines: Sequence[Engine], windows: Sequence[Window], load: Load) -> Load:
    """Returns a function that restores the frame with a given number: with the first engine, its results with the next.

    Between the engines pictures stay in float32. Of each engine before the last, it keeps the results that a window needs.

    Args:
        engines: an engine for each stage.
        windows: for each engine, which frames it needs for a frame.
        load: returns the source frame with a given number, as for Engine.restore.
    """
    for k, (engine, window) in enumerate(zip(engines, windows, strict=True)):
        load = functools.partial(_restore, engine, window, load)
        if k + 1 < len(engines):
            load = functools.lru_cache(engines[k + 1].config.num_frame)(load)
    return load


def _restore(engine: Engine, window: Window, load: Load, n: int) -> Tensor:
    return engine.restore(window(n), load)
