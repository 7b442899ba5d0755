"""What the engine keeps of source frames."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from vsedvr.infer.tile import Tile
from vsedvr.model import FrameFeatures

__all__ = ["FrameCache", "FrameTile"]


class FrameTile(NamedTuple):
    """One tile of a source frame as the network needs it."""

    lq: Tensor
    """The pixels, (1, num_in_ch, h, w)."""
    features: FrameFeatures

    @property
    def nbytes(self) -> int:
        feat, offset_nbr, offset_ref, cas_offset_ref = self.features
        return sum(tensor.nbytes for tensor in (self.lq, *feat, *offset_nbr, *offset_ref, cas_offset_ref))


class FrameCache:
    """Tiles of frames, by frame number and tile. The least recently used one goes first.

    Every window walks through all tiles. So where not all of them fit, the least recently used one is the one needed next,
    and nothing would ever be found. Instead a fixed share of the tiles is kept, and the others never enter.
    """

    def __init__(self, tiles: Sequence[Tile], num_frame: int, tile_bytes: int, max_bytes: int) -> None:
        """
        Args:
            tiles: those that each frame is taken apart into.
            num_frame: frames in a window.
            tile_bytes: bytes of one FrameTile.
            max_bytes: upper bound of all that is kept.
        """
        # One window of each kept tile, but for one frame: when a new frame enters, the oldest one is needed no more.
        kept = (max_bytes // tile_bytes + 1) // num_frame
        self.tiles = frozenset(tiles[: max(1, kept)])
        self.max_frames = (num_frame + 2) * len(self.tiles)
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.frames: OrderedDict[tuple[int, Tile], FrameTile] = OrderedDict()

    def get(self, key: tuple[int, Tile]) -> FrameTile | None:
        if key in self.frames:
            self.frames.move_to_end(key)
        return self.frames.get(key)

    def put(self, key: tuple[int, Tile], frame: FrameTile) -> None:
        """Keeps a tile of a frame, if the tile is one of those that are kept."""
        if key[1] not in self.tiles:
            return
        self.frames[key] = frame
        self.nbytes += frame.nbytes
        while len(self.frames) > self.max_frames or self.nbytes > self.max_bytes:
            self.nbytes -= self.frames.popitem(last=False)[1].nbytes
