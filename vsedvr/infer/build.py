"""What restores a clip: an engine within the memory that is free, and the windows."""

import torch

from vsedvr.infer.engine import Engine
from vsedvr.infer.memory import choose_tiling, free_bytes, working_bytes
from vsedvr.infer.tile import Tiling, default_tile_pad
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.timeline import Windows

__all__ = ["build_engine", "clip_windows", "published_padding"]


def build_engine(
    model: EDVR,
    device: torch.device,
    dtype: torch.dtype,
    size: tuple[int, int],
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    reserved_bytes: int = 0,
) -> Engine:
    """For half of the memory that is free: frames, other filters and the encoder take of the other half.

    Args:
        model: the network.
        device, dtype: of the engine.
        size: (height, width) of the clip.
        tile: (width, height) of tiles, (0, 0) for none; by default the largest that fit.
        tile_pad: pixels read around a tile; by default what keeps tiles within 1/255 of the whole.
        reserved_bytes: bytes of the computer's memory that are free now and that something else will still take, such as
            what VapourSynth's cache of frames may grow by. A GPU's memory has nothing to do with it.
    """
    free = free_bytes(device) - (0 if device.type == "cuda" else reserved_bytes)
    config, budget = model.config, max(0, free) // 2
    pad = default_tile_pad(config) if tile_pad is None else tile_pad
    tiling = Tiling(*size, tile or (0, 0), pad, config)
    if tile is None:
        tiling = choose_tiling(tiling, dtype, device, budget)
    return Engine(model, device, dtype, tiling, cache_bytes=max(0, budget - working_bytes(tiling, dtype, device)))


def clip_windows(config: EDVRConfig, num_frames: int, padding: str | None = None) -> Windows:
    """The windows of a network over a clip.

    Args:
        config: of the network.
        num_frames: length of the clip.
        padding: one of timeline.PADDINGS; by default what published models of the kind were tested with.

    Raises:
        ValueError: for an unknown padding.
    """
    return Windows(num_frames, config.num_frame, config.center, padding or published_padding(config))


def published_padding(config: EDVRConfig) -> str:
    """The padding that published models of this kind were tested with: BasicSR, options/test/EDVR."""
    return "replicate" if config.with_predeblur else "reflection_circle"
