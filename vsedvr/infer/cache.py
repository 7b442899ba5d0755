"""What the engine keeps of source frames."""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor

from vsedvr.infer.tile import Tile
from vsedvr.model import FrameFeatures

__all__ = ["Frame", "FrameCache"]


class Frame(NamedTuple):
    """One tile of a source frame as the network needs it."""

    lq: Tensor
    """(1, 3, h, w)."""
    features: FrameFeatures

    @property
    def nbytes(self) -> int:
        feat, offset_nbr, offset_ref, cas_offset_ref = self.features
        return sum(tensor.nbytes for tensor in (self.lq, *feat, *offset_nbr, *offset_ref, cas_offset_ref))


class FrameCache:
    """Tiles of frames by frame number and tile; the least recently used goes first."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.frames: OrderedDict[tuple[int, Tile], Frame] = OrderedDict()

    def get(self, key: tuple[int, Tile]) -> Frame | None:
        if key in self.frames:
            self.frames.move_to_end(key)
        return self.frames.get(key)

    def put(self, key: tuple[int, Tile], frame: Frame) -> None:
        self.frames[key] = frame
        self.nbytes += frame.nbytes
        while len(self.frames) > self.max_frames or self.nbytes > self.max_bytes:
            self.nbytes -= self.frames.popitem(last=False)[1].nbytes
