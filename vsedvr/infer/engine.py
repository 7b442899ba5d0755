"""Restores a clip with an EDVR, frame by frame in any order, and keeps what can be used again."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr import ops
from vsedvr.infer.cache import FrameCache, FrameTile
from vsedvr.infer.device import PRECISIONS, computing
from vsedvr.infer.memory import (
    ROWS_AT_A_TIME,
    choose_tiling,
    feature_bytes,
    free_bytes,
    is_out_of_memory,
    smaller_tiling,
    working_bytes,
)
from vsedvr.infer.network import Network
from vsedvr.infer.source import Load, checked, what_is_not_finite
from vsedvr.infer.tile import Tile, Tiling
from vsedvr.infer.transfer import start_download, upload, wait_for
from vsedvr.model import EDVR

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
        """Makes an engine. On a GPU this compiles the kernels and restores a black tile, so that no frame has to wait for that.

        Args:
            model: stays as it is; the engine works with a copy, which engines of one model, device and type share.
            device: where to run.
            dtype: float32, float16 or bfloat16. A frame that overflows float16 or bfloat16 is computed again in float32.
            tiling: how to take the pictures apart; by default they are restored whole. When memory runs out, smaller tiles
                take its place: on a GPU here already, so that it is settled from then on.
            cache_bytes: upper bound of the features kept between calls. What is not kept is computed again.

        Raises:
            MemoryError: if a GPU's memory runs out with the smallest tiles as well.
        """
        self.config = model.config
        self.dtype = dtype
        self.tiling = tiling
        self.network = Network.shared(model, device, dtype)
        self.model, self.device = self.network.model, self.network.device
        self.exact: Engine | None = None
        self.cache = self._new_cache(cache_bytes)
        if self.device.type == "cuda":
            ops.prepare(self.device)
            if tiling is not None:
                self._warm_up(tiling)

    @torch.inference_mode()
    def restore(self, indices: Sequence[int], load: Load) -> Tensor:
        """Restores the centre frame of a window.

        Args:
            indices: the window's num_frame source frame numbers; a number always means the same frame.
            load: gives the frame of a number, (num_in_ch, h, w) in [0, 1], all of the size that the tiling is for; called
                only for frames whose features are not kept, once for each.

        Returns:
            (num_out_ch, scale * h, scale * w), float32, clamped to [0, 1], on the CPU.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out with the smallest tiles as well.
            RuntimeError: if the frame is not finite in float32 either.
        """
        load = functools.cache(load)
        if self.tiling is None:
            height, width = load(indices[self.config.center]).shape[-2:]
            self.tiling = Tiling.whole(height, width, self.config)
            self.cache = self._new_cache(self.cache.max_bytes)
        load = checked(load, (self.config.num_in_ch, self.tiling.height, self.tiling.width))
        try:
            return self._in_tiles_that_fit(self.tiling, lambda tiling: tiling.blend(self._parts(tiling, indices, load)))
        except FloatingPointError as error:
            if self.network.exact_model is None:
                raise RuntimeError(f"{error}: {what_is_not_finite(indices, load)}") from error
            warning = str(error)
        # Only after the except block: the error holds the tensors that were alive
        if self.exact is None:
            logger.warning("%s; such frames are computed again in fp32. With precision fp32 all are, at once", warning)
            self.exact = self._new_exact(self.network.exact_model, self.tiling)
        return self.exact.restore(indices, load)

    def _parts(self, tiling: Tiling, indices: Sequence[int], load: Load) -> Iterator[Tensor]:
        """The restored tiles in order.

        Raises:
            FloatingPointError: if one is not finite.
        """
        for tile in tiling.tiles:
            part, finite = self._restore_tile(tile, indices, load)
            if not finite:
                name = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
                raise FloatingPointError(f"frame {indices[self.config.center]} is not finite in {name}")
            yield part

    def _restore_tile(self, tile: Tile, indices: Sequence[int], load: Load) -> tuple[Tensor, bool]:
        """The restored tile, and whether the network gave finite numbers for all of it."""
        with computing(self.device, self.dtype):
            frames = {i: self._frame(i, tile, load) for i in dict.fromkeys(indices)}
            center = frames[indices[self.config.center]]
            restored = self.model.reconstruct(self._fuse(indices, frames), center.lq, ROWS_AT_A_TIME)[0]
            finite = start_download(torch.stack(restored.aminmax()).isfinite().all())  # NaN anywhere is both of the two
            part = start_download(restored.float().clamp(0, 1).contiguous())
        wait_for(self.device)
        return part, bool(finite)

    def _fuse(self, indices: Sequence[int], frames: dict[int, FrameTile]) -> Tensor:
        """The window's frames, aligned and fused. The aligned ones are freed here, before the reconstruction needs memory."""
        center = frames[indices[self.config.center]]
        aligned = {i: self.model.align(frame.features, center.features) for i, frame in frames.items()}
        return self.model.fuse([aligned[i] for i in indices])

    def _frame(self, i: int, tile: Tile, load: Load) -> FrameTile:
        frame = self.cache.get((i, tile))
        if frame is None:
            frame = self._extract(tile, load(i))
            self.cache.put((i, tile), frame)
        return frame

    def _extract(self, tile: Tile, picture: Tensor) -> FrameTile:
        lq = upload(tile.crop(picture)[None], self.device, self.dtype)
        padding = 0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]
        lq = F.pad(lq, padding, "replicate").contiguous(memory_format=torch.channels_last)
        return FrameTile(lq, self.model.extract(lq))

    def _in_tiles_that_fit[T](self, tiling: Tiling, run: Callable[[Tiling], T]) -> T:
        """What `run` returns for the tiling, or for a smaller one, which then stays, if memory runs out."""
        while True:
            try:
                return run(tiling)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = smaller_tiling(tiling, error)
            # Only after the except block: the error holds the tensors that were alive. What was in use then is about all
            # there is; from here on half of it is for features.
            in_use = self.cache.nbytes + working_bytes(tiling, self.dtype, self.device)
            self.tiling = tiling = smaller
            self.cache = self._new_cache(min(self.cache.max_bytes, in_use // 2))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _warm_up(self, tiling: Tiling) -> None:
        """Restores a black tile: what is slow the first time is done, and memory that is too small is found out.

        A driver for Windows does not fail when the GPU's memory is full: it goes on in the computer's, many times slower. So
        it counts as out of memory, too, if PyTorch ends up with more than it held and was free before. Once is enough: what
        restoring takes beyond that later is the cache, which is bounded. A limit for the process
        (torch.cuda.set_per_process_memory_fraction) would meet the other filters in the script as well.
        """
        capacity = torch.cuda.memory_allocated(self.device) + free_bytes(self.device)
        shape = self.config.num_in_ch, tiling.height, tiling.width
        black = torch.zeros((), dtype=torch.float32, device="cpu").expand(shape)

        def run(tiling: Tiling) -> None:
            self._restore_tile(tiling.tiles[0], range(self.config.num_frame), lambda i: black)
            held = torch.cuda.memory_reserved(self.device)
            if held > capacity:
                raise MemoryError(f"{held >> 20} MiB are more than the {capacity >> 20} MiB that were free on the GPU")

        self._in_tiles_that_fit(tiling, run)
        self.cache = self._new_cache(self.cache.max_bytes)

    def _new_exact(self, model: EDVR, tiling: Tiling) -> "Engine":
        """The engine for frames that are not finite in this one; in smaller tiles where these would take more memory."""
        budget = self.cache.max_bytes + working_bytes(tiling, self.dtype, self.device)
        tiling = choose_tiling(tiling, torch.float32, self.device, budget)
        return Engine(model, self.device, torch.float32, tiling, self.cache.max_bytes)

    def _new_cache(self, max_bytes: int) -> FrameCache:
        tiles = self.tiling.tiles if self.tiling else []
        tile_bytes = feature_bytes(self.config, tiles[0], self.dtype) if tiles else 1
        return FrameCache(tiles, self.config.num_frame, tile_bytes, max_bytes)
