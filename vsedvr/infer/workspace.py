"""What an engine divides its work into, and the memory that it keeps for it."""

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch

from vsedvr import ops
from vsedvr.infer.cache import FrameCache, VersionTile
from vsedvr.infer.ensemble import Transform
from vsedvr.infer.memory import SMALL_STEPS, Steps, arena_bytes, feature_bytes, smaller_tiling, working_bytes
from vsedvr.infer.tile import Tiling
from vsedvr.model import EDVRConfig

__all__ = ["Workspace"]


@dataclass(eq=False)
class Workspace:
    """The tiles and steps in which an engine restores pictures, the features that it keeps, and the memory that it reuses.

    All of it depends on the size of a tile. So when memory runs out, a smaller workspace takes its place as a whole.
    """

    config: EDVRConfig
    device: torch.device
    dtype: torch.dtype
    versions: Sequence[Transform]
    """The versions of each picture that are restored (see ensemble.py)."""
    streams: int
    """Number of frames that are restored at a time."""
    tiling: Tiling | None
    """None until the size of the pictures is known."""
    steps: Steps
    cache_bytes: int
    """Upper bound of the features that are kept, in bytes."""

    @functools.cached_property
    def cache(self) -> FrameCache:
        """The features of frames that later windows need, at first none."""
        tiles: list[VersionTile] = []
        tile_bytes = 1
        if self.tiling is not None:
            tiles = [VersionTile(version, tile) for version in self.versions for tile in version.tiling(self.tiling).tiles]
            tile_bytes = feature_bytes(self.config, tiles[0].tile, self.dtype)
        return FrameCache(tiles, self.config.num_frame, tile_bytes, self.cache_bytes, self.streams)

    @functools.cached_property
    def arena(self) -> ops.Arena | None:
        """Memory that is reused from tile to tile, which only a CPU has.

        The features in the cache lie there, too: between short-lived results, the C library's memory would get gaps of a fifth
        of all. There is room for two frames more, as many as there are of a tile that is not kept.
        """
        if self.device.type != "cpu" or self.tiling is None:
            return None
        features = self.cache.room + 2 * feature_bytes(self.config, self.tiling.tiles[0], self.dtype)
        return ops.Arena(arena_bytes(self.tiling, self.dtype, len(self.versions)) + features)

    def reused_memory(self) -> AbstractContextManager[None]:
        """Context in which kernels write their results to the reused memory, where there is one."""
        return self.arena.lent() if self.arena else nullcontext()

    def smaller(self, error: BaseException) -> "Workspace":
        """Returns the workspace to go on with after memory ran out: in small steps, and if it had them, in smaller tiles.

        Raises:
            MemoryError: if it has the smallest tiles already.
        """
        assert self.tiling is not None
        tiling = smaller_tiling(self.tiling, error) if self.steps == SMALL_STEPS else self.tiling
        # The memory in use when it ran out is about all there is; from here on half of it is for features
        working = working_bytes(self.tiling, self.dtype, self.device, len(self.versions), self.steps)
        cache_bytes = min(self.cache_bytes, (self.cache.nbytes + working) // 2)
        return replace(self, tiling=tiling, steps=SMALL_STEPS, cache_bytes=cache_bytes)
