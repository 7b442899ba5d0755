"""Runs an EDVR through a clip, frame by frame in any order, and keeps what can be used again."""

import copy
import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.infer.memory import is_out_of_memory, working_bytes
from vsedvr.infer.tile import Tile, Tiling
from vsedvr.model import EDVR, FrameFeatures
from vsedvr.model.blocks import DCNPack

__all__ = ["Engine"]

logger = logging.getLogger("vsedvr")


class Engine:
    """Restores frames of one clip on one device in one precision.

    The features of a frame are computed when a window first needs it and kept, by source frame number and tile, for the
    windows after; a neighbour that stands in a window twice is aligned once. What is kept changes the time a frame takes
    and never its pixels: with the tiles that it has, output n depends on n alone.
    """

    def __init__(
        self,
        model: EDVR,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        tiling: Tiling | None = None,
        cache_bytes: int = 4 << 30,
    ) -> None:
        """
        Args:
            model: stays as it is; the engine works with a copy.
            device: where to run.
            dtype: float32, float16 or bfloat16. The convolutions that predict offsets stay in float32 in bfloat16.
            tiling: how to take the pictures apart; by default they are restored whole. When memory runs out, smaller tiles
                take its place.
            cache_bytes: upper bound of the features kept between calls. Without room for a window of them frames are
                extracted again.
        """
        self.config = model.config
        self.device = torch.device(device)
        self.dtype = dtype
        self.tiling = tiling
        self.model = copy.deepcopy(model).eval().to(self.device, dtype).to(memory_format=torch.channels_last)
        if dtype == torch.bfloat16:
            for module in self.model.modules():
                if isinstance(module, DCNPack):
                    module.conv_offset.float()
        self.cache = self._new_cache(cache_bytes)

    @torch.inference_mode()
    def restore(self, indices: Sequence[int], load: Callable[[int], Tensor]) -> Tensor:
        """Restores the centre frame of a window.

        Args:
            indices: the window's num_frame source frame numbers; a number always means the same frame.
            load: gives the frame of a number, (3, h, w) in [0, 1], all of one size; called only for frames of which features
                are not kept, once for each.

        Returns:
            (3, scale * h, scale * w), float32, clamped to [0, 1], on the CPU.

        Raises:
            MemoryError: if memory runs out with the smallest tiles as well.
        """
        load = functools.cache(load)
        if self.tiling is None:
            height, width = load(indices[self.config.center]).shape[-2:]
            self.tiling = Tiling.whole(height, width, self.config)
        while True:
            try:
                return self.tiling.blend(self._restore_tile(tile, indices, load) for tile in self.tiling.tiles)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = _smaller(self.tiling, error)
            # Only after the except block: the error holds the tensors that were alive
            in_use = self.cache.nbytes + working_bytes(self.tiling, self.dtype)
            self.tiling = smaller
            self._make_room(in_use)

    def _restore_tile(self, tile: Tile, indices: Sequence[int], load: Callable[[int], Tensor]) -> Tensor:
        frames = {i: self._frame(i, tile, load) for i in dict.fromkeys(indices)}
        center = frames[indices[self.config.center]]
        restored = self.model.reconstruct(self._fuse(indices, frames), center.lq)
        return restored[0].float().clamp(0, 1).cpu()

    def _fuse(self, indices: Sequence[int], frames: dict[int, "_Frame"]) -> Tensor:
        """The window in one. The aligned frames end with this function, before the reconstruction needs their memory."""
        center = frames[indices[self.config.center]]
        aligned = {i: self.model.align(frame.features, center.features) for i, frame in frames.items()}
        return self.model.fuse([aligned[i] for i in indices])

    def _frame(self, i: int, tile: Tile, load: Callable[[int], Tensor]) -> "_Frame":
        frame = self.cache.get((i, tile))
        if frame is None:
            frame = self._extract(tile, load(i))
            self.cache.put((i, tile), frame)
        return frame

    def _extract(self, tile: Tile, picture: Tensor) -> "_Frame":
        lq = tile.crop(picture)[None].to(self.device, self.dtype)
        lq = F.pad(lq, (0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]), "replicate")
        lq = lq.contiguous(memory_format=torch.channels_last)
        return _Frame(lq, self.model.extract(lq))

    def _make_room(self, in_use: int) -> None:
        """What was in use when memory ran out is about all there is; from here on half of it is for features."""
        self.cache = self._new_cache(min(self.cache.max_bytes, in_use // 2))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _new_cache(self, max_bytes: int) -> "_FrameCache":
        tiles = len(self.tiling.tiles) if self.tiling else 1
        return _FrameCache((self.config.num_frame + 2) * tiles, max_bytes)


def _smaller(tiling: Tiling, error: BaseException) -> Tiling:
    smaller = tiling.smaller()
    if smaller is None:
        width, height = tiling.tiles[0].width, tiling.tiles[0].height
        raise MemoryError(
            f"out of memory, and tile {tiling.tile} with tile_pad {tiling.pad} ({width}x{height} pixels) cannot be smaller; "
            f"a smaller tile_pad, precision fp16 on a GPU, or device_index -1 (the CPU) may help ({error})"
        ) from error
    logger.warning("out of memory: restoring in smaller tiles from here on; tile=%s has them from the start", smaller.tile)
    return smaller


class _Frame(NamedTuple):
    """One tile of a source frame as the network needs it."""

    lq: Tensor
    """(1, 3, h, w)."""
    features: FrameFeatures

    @property
    def nbytes(self) -> int:
        feat, offset_nbr, offset_ref, cas_offset_ref = self.features
        return sum(tensor.nbytes for tensor in (self.lq, *feat, *offset_nbr, *offset_ref, cas_offset_ref))


class _FrameCache:
    """Tiles of frames by frame number and tile; the least recently used goes first."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.frames: OrderedDict[tuple[int, Tile], _Frame] = OrderedDict()

    def get(self, key: tuple[int, Tile]) -> _Frame | None:
        if key in self.frames:
            self.frames.move_to_end(key)
        return self.frames.get(key)

    def put(self, key: tuple[int, Tile], frame: _Frame) -> None:
        self.frames[key] = frame
        self.nbytes += frame.nbytes
        while len(self.frames) > self.max_frames or self.nbytes > self.max_bytes:
            self.nbytes -= self.frames.popitem(last=False)[1].nbytes
