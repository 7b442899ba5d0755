"""Builds what restores a clip: an engine that fits into the free memory, and the windows of frames it is fed with."""

import operator
from typing import SupportsIndex

import torch

from vsedvr.infer.engine import Engine
from vsedvr.infer.memory import choose_steps, choose_tiling, free_bytes, is_out_of_memory, working_bytes
from vsedvr.infer.tile import Tiling, default_tile_pad
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.timeline import Windows

__all__ = ["build_engine", "check_tile", "clip_windows", "memory_budget", "published_padding", "share_memory"]

_processes = 1
"""Number of vsedvr processes that share the memory of a device, this one included; set by share_memory."""


def build_engine(
    model: EDVR,
    device: torch.device,
    dtype: torch.dtype,
    size: tuple[int, int],
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    reserved_bytes: int = 0,
    *,
    ensemble: int = 1,
    stages: int = 1,
    streams: int = 1,
) -> Engine:
    """Builds an engine that takes half of the free memory. The other half is for frames, other filters and the encoder.

    Args:
        model: the network.
        device, dtype: the device and the data type that the engine computes with.
        size: (height, width) of the clip.
        tile: (width, height) of tiles in pixels of the clip, (0, 0) for no tiles; by default the largest tiles that fit.
        tile_pad: pixels that are read around a tile; by default so many that a picture restored in tiles differs by at most
            1/255 from one restored whole.
        reserved_bytes: bytes of the computer's memory that are free now but will be taken by something else, such as
            VapourSynth's cache of frames while it grows. A GPU's memory is not affected.
        ensemble: number of versions of each picture whose mean is the result (see Engine).
        stages: number of engines on the device that a clip goes through; each takes an equal part of that half.
        streams: number of frames that are restored at a time (see Engine).

    Raises:
        ValueError: if tile or tile_pad is invalid (see check_tile), or there is no such ensemble.
        MemoryError: if the device has too little memory.
        RuntimeError: if the network does not run on the GPU.
    """
    check_tile(tile, tile_pad)
    try:
        budget = memory_budget(device, reserved_bytes) // stages
        return _build(model, device, dtype, size, tile, tile_pad, budget, ensemble, streams)
    except RuntimeError as error:
        if device.type != "cuda":
            raise
        if is_out_of_memory(error):
            raise MemoryError(f"out of memory on GPU {device.index}; device_index=-1 computes on the CPU ({error})") from error
        raise RuntimeError(
            f"the network does not run on GPU {device.index}; device_index=-1 computes on the CPU ({error})"
        ) from error


def memory_budget(device: torch.device, reserved_bytes: int = 0) -> int:
    """Returns how many bytes an engine may take on a device: half of what is free, after reserved_bytes are set
    aside on a CPU.

    If several processes share the memory (see share_memory), the result is this process's equal part.
    """
    free = free_bytes(device) - (0 if device.type == "cuda" else reserved_bytes)
    return max(0, free) // 2 // _processes


def share_memory(processes: int) -> None:
    """Tells this process that `processes` processes share the memory of a device; it then takes only its equal part."""
    global _processes
    _processes = processes


def _build(
    model: EDVR,
    device: torch.device,
    dtype: torch.dtype,
    size: tuple[int, int],
    tile: tuple[int, int] | None,
    tile_pad: int | None,
    budget: int,
    ensemble: int,
    streams: int,
) -> Engine:
    config = model.config
    pad = default_tile_pad(config) if tile_pad is None else tile_pad
    tiling = Tiling(*size, tile or (0, 0), pad, config)
    if tile is None:
        tiling = choose_tiling(tiling, dtype, device, budget, ensemble)
    steps = choose_steps(tiling, dtype, device, budget - working_bytes(tiling, dtype, device, ensemble), ensemble, streams)
    cache_bytes = max(0, budget - working_bytes(tiling, dtype, device, ensemble, steps))
    return Engine(model, device, dtype, tiling, cache_bytes=cache_bytes, ensemble=ensemble, steps=steps, streams=streams)


def check_tile(tile: tuple[int, int] | None, tile_pad: int | None) -> None:
    """Checks the tile size and pad that a user gave. Whole numbers of any type are accepted, NumPy's included.

    Raises:
        ValueError: if tile is neither None nor two whole numbers from 0 up, or tile_pad neither None nor one such number.
    """
    pair = tile is None or (isinstance(tile, tuple | list) and len(tile) == 2)
    if not pair or not all(_is_pixels(side) for side in tile or ()):
        raise ValueError(
            "tile must be (width, height) in pixels of the clip, such as (640, 360), (0, 0) for no tiles, or None, "
            f"got {tile!r}"
        )
    if tile_pad is not None and not _is_pixels(tile_pad):
        raise ValueError(f"tile_pad must be a number of pixels of the clip, 0 or more, or None, got {tile_pad!r}")


def _is_pixels(number: SupportsIndex) -> bool:
    try:
        return not isinstance(number, bool) and operator.index(number) >= 0
    except TypeError:
        return False


def clip_windows(config: EDVRConfig, num_frames: int, padding: str | None = None) -> Windows:
    """Builds the windows that a network restores a clip from.

    Args:
        config: configuration of the network.
        num_frames: length of the clip in frames.
        padding: one of timeline.PADDINGS; by default the one that published models of this kind were tested with.

    Raises:
        ValueError: for an unknown padding.
    """
    return Windows(num_frames, config.num_frame, config.center, padding or published_padding(config))


def published_padding(config: EDVRConfig) -> str:
    """Name of the padding that published models of this kind were tested with (source: BasicSR, options/test/EDVR)."""
    return "replicate" if config.with_predeblur else "reflection_circle"
