"""A cache of source frames and their features, so that the engine computes each of them only once."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from vsedvr.infer.ensemble import Transform
from vsedvr.infer.tile import Tile
from vsedvr.model import FrameFeatures

__all__ = ["FrameCache", "FrameTile", "VersionTile"]


class VersionTile(NamedTuple):
    """One tile of one version of every picture; without self-ensemble the picture as it is is the only version."""

    transform: Transform
    """Makes the version."""
    tile: Tile
    """Rectangle in the version."""


class FrameTile(NamedTuple):
    """Pixels and features of one tile of one version of a source frame."""

    lq: Tensor
    """The tile's pixels, (1, num_in_ch, h, w) in [0, 1]."""
    features: FrameFeatures

    @property
    def nbytes(self) -> int:
        feat, offset_nbr, offset_ref, cas_offset_ref = self.features
        return sum(tensor.nbytes for tensor in (self.lq, *feat, *offset_nbr, *offset_ref, cas_offset_ref))


class FrameCache:
    """Keeps tiles of frames, by frame number, version and tile. When it is full, the least recently used one is dropped.

    Every window walks through all tiles of all versions. If not all of them fit, the least recently used tile is the one
    needed next, so nothing would ever be found. Therefore a fixed share of the tiles is kept, and the others never enter the
    cache.
    """

    def __init__(self, tiles: Sequence[VersionTile], num_frame: int, tile_bytes: int, max_bytes: int, streams: int = 1) -> None:
        """
        Args:
            tiles: the tiles that each version of a frame is divided into, all versions in a row.
            num_frame: number of frames in a window.
            tile_bytes: size of one FrameTile in bytes.
            max_bytes: upper bound of the whole cache in bytes.
            streams: number of frames that are restored at a time.
        """
        # Each kept tile needs room for a window less one frame: when a new frame enters, the oldest is no longer needed.
        kept = (max_bytes // tile_bytes + 1) // num_frame
        self.tiles = frozenset(tiles[: max(1, kept)])
        self.max_frames = (num_frame + 1 + streams) * len(self.tiles)
        self.max_bytes = max_bytes
        self.room = min(max_bytes, self.max_frames * tile_bytes)
        """Maximum number of bytes that the frames in this cache take together."""
        self.nbytes = 0
        self.frames: OrderedDict[tuple[int, VersionTile], FrameTile] = OrderedDict()

    def get(self, key: tuple[int, VersionTile]) -> FrameTile | None:
        if key in self.frames:
            self.frames.move_to_end(key)
        return self.frames.get(key)

    def put(self, key: tuple[int, VersionTile], frame: FrameTile) -> None:
        """Keeps a frame's tile if it belongs to the share of tiles that this cache holds; drops old tiles to make room.

        A tile that is kept already becomes the most recently used one.
        """
        if key[1] not in self.tiles or self.get(key) is not None:
            return
        self.frames[key] = frame
        self.nbytes += frame.nbytes
        while len(self.frames) > self.max_frames or self.nbytes > self.max_bytes:
            self.nbytes -= self.frames.popitem(last=False)[1].nbytes
