"""What it takes to restore a clip: an engine that fits into the free memory, and the windows of frames."""

import operator
from typing import SupportsIndex

import torch

from vsedvr.infer.engine import Engine
from vsedvr.infer.memory import choose_tiling, free_bytes, is_out_of_memory, working_bytes
from vsedvr.infer.tile import Tiling, default_tile_pad
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.timeline import Windows

__all__ = ["build_engine", "check_tile", "clip_windows", "memory_budget", "published_padding", "share_memory"]

_processes = 1
"""How many processes such as this one share the memory of a device."""


def build_engine(
    model: EDVR,
    device: torch.device,
    dtype: torch.dtype,
    size: tuple[int, int],
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    reserved_bytes: int = 0,
) -> Engine:
    """An engine that takes half of the memory that is free. The rest is for frames, other filters and the encoder.

    Args:
        model: the network.
        device, dtype: of the engine.
        size: (height, width) of the clip.
        tile: (width, height) of tiles, (0, 0) for none; by default the largest that fit.
        tile_pad: pixels read around a tile; by default what keeps tiles within 1/255 of the whole.
        reserved_bytes: bytes of the computer's memory that are free now and that something else will still take, such as
            what VapourSynth's cache of frames may grow by. A GPU's memory has nothing to do with it.

    Raises:
        ValueError: for a tile or tile_pad that cannot be.
        MemoryError: if the device has too little memory.
        RuntimeError: if the network does not run on the GPU.
    """
    check_tile(tile, tile_pad)
    try:
        return _build(model, device, dtype, size, tile, tile_pad, memory_budget(device, reserved_bytes))
    except RuntimeError as error:
        if device.type != "cuda":
            raise
        if is_out_of_memory(error):
            raise MemoryError(f"out of memory on GPU {device.index}; device_index=-1 computes on the CPU ({error})") from error
        raise RuntimeError(
            f"the network does not run on GPU {device.index}; device_index=-1 computes on the CPU ({error})"
        ) from error


def memory_budget(device: torch.device, reserved_bytes: int = 0) -> int:
    """Bytes that an engine takes on a device: half of what is free, less what is reserved of the computer's memory.

    Where processes share the memory (see share_memory), it is this one's part.
    """
    free = free_bytes(device) - (0 if device.type == "cuda" else reserved_bytes)
    return max(0, free) // 2 // _processes


def share_memory(processes: int) -> None:
    """Says that so many processes of one kind share the memory of a device, of which this one may take its part."""
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
) -> Engine:
    config = model.config
    pad = default_tile_pad(config) if tile_pad is None else tile_pad
    tiling = Tiling(*size, tile or (0, 0), pad, config)
    if tile is None:
        tiling = choose_tiling(tiling, dtype, device, budget)
    return Engine(model, device, dtype, tiling, cache_bytes=max(0, budget - working_bytes(tiling, dtype, device)))


def check_tile(tile: tuple[int, int] | None, tile_pad: int | None) -> None:
    """Checks what a user gave for tiles. Whole numbers of any kind will do, those of NumPy included.

    Raises:
        ValueError: if they are neither None nor what a Tiling takes.
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
    """The windows of a network over a clip.

    Args:
        config: configuration of the network.
        num_frames: length of the clip.
        padding: one of timeline.PADDINGS; by default what published models of the kind were tested with.

    Raises:
        ValueError: for an unknown padding.
    """
    return Windows(num_frames, config.num_frame, config.center, padding or published_padding(config))


def published_padding(config: EDVRConfig) -> str:
    """The padding that published models of this kind were tested with: BasicSR, options/test/EDVR."""
    return "replicate" if config.with_predeblur else "reflection_circle"
