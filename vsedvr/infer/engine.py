"""The engine: it restores a clip with an EDVR, frame by frame in any order, and keeps features that are needed again."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr import ops
from vsedvr.infer.cache import FrameCache, FrameTile, VersionTile
from vsedvr.infer.device import PRECISIONS, computing
from vsedvr.infer.ensemble import Transform, mean_of_versions, transforms
from vsedvr.infer.memory import (
    SMALL_STEPS,
    Steps,
    arena_bytes,
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

    The features of a frame are computed when a window first needs them, and kept for later windows by source frame number,
    version and tile. A frame that occurs twice in a window is aligned once. The cache changes how long a frame takes but never
    its pixels: as long as the tiles and steps stay the same, output n depends on n alone.
    """

    def __init__(
        self,
        model: EDVR,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        tiling: Tiling | None = None,
        cache_bytes: int = 4 << 30,
        ensemble: int = 1,
        steps: Steps = SMALL_STEPS,
    ) -> None:
        """Makes an engine. On a GPU this compiles the kernels and restores a black tile, so that no frame has to wait for it.

        Args:
            model: the network. It is not changed: the engine works with a copy, which all engines with the same model,
                device and dtype share.
            device: where the network runs.
            dtype: float32, float16 or bfloat16. A frame that overflows float16 or bfloat16 is computed again in float32.
            tiling: how pictures are divided into tiles; by default they are restored whole. If memory runs out, smaller
                tiles replace it; on a GPU that is tried out here already, so that the tiles do not change later.
            cache_bytes: upper bound of the features kept between calls, in bytes. All others are computed again.
            ensemble: number of versions of each picture that are restored, whose mean is the result: 1, 4 (flips) or 8
                (flips, and transposed). It takes so many times as long.
            steps: in what steps a tile is restored (choose_steps); the small ones replace them if memory runs out.

        Raises:
            ValueError: for another ensemble.
            MemoryError: if a GPU's memory runs out even with the smallest tiles.
        """
        self.config = model.config
        self.dtype = dtype
        self.tiling = tiling
        self.steps = steps
        self.versions = transforms(ensemble)
        self.network = Network.shared(model, device, dtype)
        self.model, self.device = self.network.model, self.network.device
        self.exact: Engine | None = None
        self.arena: ops.Arena | None = None
        self.cache = self._new_cache(cache_bytes)
        if self.device.type == "cuda":
            ops.prepare(self.device)
            if tiling is not None:
                self._warm_up(tiling)

    @torch.inference_mode()
    def restore(self, indices: Sequence[int], load: Load) -> Tensor:
        """Restores the centre frame of a window.

        Args:
            indices: the window's num_frame source frame numbers; the same number must always mean the same frame.
            load: returns the frame with a given number, (num_in_ch, h, w) in [0, 1], in the size that the tiling is for.
                It is called once for each frame whose features are not in the cache.

        Returns:
            The restored frame, (num_out_ch, scale * h, scale * w), float32, clamped to [0, 1], on the CPU.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out even with the smallest tiles.
            RuntimeError: if the restored frame has NaN or infinity in it even in float32.
        """
        load = functools.cache(load)
        if self.tiling is None:
            height, width = load(indices[self.config.center]).shape[-2:]
            self.tiling = Tiling.whole(height, width, self.config)
            self.cache = self._new_cache(self.cache.max_bytes)
        load = checked(load, (self.config.num_in_ch, self.tiling.height, self.tiling.width))
        try:
            return self._in_tiles_that_fit(self.tiling, lambda tiling: self._picture(tiling, indices, load))
        except FloatingPointError as error:
            if self.network.exact_model is None:
                raise RuntimeError(f"{error}: {what_is_not_finite(indices, load)}") from error
            warning = str(error)
        # This must come after the except block: the error keeps tensors alive
        if self.exact is None:
            logger.warning("%s; such frames are computed again in fp32. With precision fp32 all are, at once", warning)
            self.exact = self._new_exact(self.network.exact_model, self.tiling)
        return self.exact.restore(indices, load)

    def _picture(self, tiling: Tiling, indices: Sequence[int], load: Load) -> Tensor:
        """Returns the restored picture: the mean of all versions, clamped to [0, 1].

        Raises:
            FloatingPointError: if the network gave NaN or infinity.
        """

        def restored(version: Transform) -> Tensor:
            turned = version.tiling(tiling)
            tiles = [VersionTile(version, tile) for tile in turned.tiles]
            return turned.blend(self._parts(tiles, indices, functools.cache(lambda i: version.apply(load(i)))))

        return mean_of_versions(self.versions, restored).clamp(0, 1)

    def _parts(self, tiles: Sequence[VersionTile], indices: Sequence[int], load: Load) -> Iterator[Tensor]:
        """Yields restored tiles, each as Tiling.blend takes it. `load` gives pictures in the version of the tiles.

        Raises:
            FloatingPointError: if a restored tile has NaN or infinity in it.
        """
        for tile in tiles:
            part, finite = self._restore_tile(tile, indices, load)
            if not finite:
                name = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
                raise FloatingPointError(f"frame {indices[self.config.center]} is not finite in {name}")
            yield part

    def _restore_tile(self, tile: VersionTile, indices: Sequence[int], load: Load) -> tuple[Tensor, bool]:
        """Restores one tile of a frame; returns it with whether all numbers that the network gave are finite."""
        with computing(self.device, self.dtype):
            frames = {i: self._frame(i, tile, load) for i in dict.fromkeys(indices)}
            center = frames[indices[self.config.center]]
            with self._reused_memory():
                restored = self.model.reconstruct(self._fuse(indices, frames), center.lq, self.steps.rows)[0]
            finite = start_download(torch.stack(restored.aminmax()).isfinite().all())  # one NaN makes both of them NaN
            part = start_download(restored.float().contiguous())
        wait_for(self.device)
        return part, bool(finite)

    def _reused_memory(self) -> AbstractContextManager[None]:
        """Context in which kernels on a CPU write their results to memory reused from tile to tile; none on a GPU."""
        if self.device.type != "cpu" or self.tiling is None:
            return nullcontext()
        self.arena = self.arena or ops.Arena(arena_bytes(self.tiling, self.dtype, len(self.versions)))
        return self.arena.lent()

    def _fuse(self, indices: Sequence[int], frames: dict[int, FrameTile]) -> Tensor:
        """Aligns and fuses a window's frames. The aligned frames are freed on return, before reconstruction needs memory."""
        center = frames[indices[self.config.center]]
        if self.steps.at_once:
            features = [frame.features for frame in frames.values()]
            aligned = dict(zip(frames, self.model.align_all(features, center.features), strict=True))
        else:
            aligned = {i: self.model.align(frame.features, center.features) for i, frame in frames.items()}
        return self.model.fuse([aligned[i] for i in indices])

    def _frame(self, i: int, tile: VersionTile, load: Load) -> FrameTile:
        frame = self.cache.get((i, tile))
        if frame is None:
            frame = self._extract(tile.tile, load(i))
            self.cache.put((i, tile), frame)
        return frame

    def _extract(self, tile: Tile, picture: Tensor) -> FrameTile:
        lq = upload(tile.crop(picture)[None], self.device, self.dtype)
        padding = 0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]
        lq = F.pad(lq, padding, "replicate").contiguous(memory_format=torch.channels_last)
        return FrameTile(lq, self.model.extract(lq))

    def _in_tiles_that_fit[T](self, tiling: Tiling, run: Callable[[Tiling], T]) -> T:
        """Calls `run` with the tiling, and while memory runs out in small steps, then with smaller tilings; keeps what fits.

        Returns:
            What the call that succeeded returned.

        Raises:
            MemoryError: if memory runs out even with the smallest tiles.
        """
        while True:
            try:
                return run(tiling)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = smaller_tiling(tiling, error) if self.steps == SMALL_STEPS else tiling
            # This must come after the except block: the error keeps tensors alive. The memory in use when it ran out is
            # about all there is; from here on half of it is for features.
            in_use = self.cache.nbytes + working_bytes(tiling, self.dtype, self.device, len(self.versions), self.steps)
            self.steps = SMALL_STEPS
            self.tiling = tiling = smaller
            self.arena = None
            self.cache = self._new_cache(min(self.cache.max_bytes, in_use // 2))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _warm_up(self, tiling: Tiling) -> None:
        """Restores a black tile on the GPU, so that slow first-time work is done and a lack of memory shows at once.

        If some versions are transposed, a transposed tile follows.

        NVIDIA's driver for Windows does not fail when the GPU's memory is full: it goes on in the computer's memory, many
        times slower. So it also counts as out of memory if PyTorch ends up with more memory than it held and was free before.
        One check is enough: later only the cache takes more memory, and that is bounded. A limit for the whole process
        (torch.cuda.set_per_process_memory_fraction) would also affect the other filters in the script.
        """
        capacity = torch.cuda.memory_allocated(self.device) + free_bytes(self.device)
        shape = self.config.num_in_ch, tiling.height, tiling.width
        black = torch.zeros((), dtype=torch.float32, device="cpu").expand(shape)

        def run(tiling: Tiling) -> None:
            for version in {version.transposed: version for version in self.versions}.values():
                frames = dict.fromkeys(range(self.config.num_frame), version.apply(black))
                tile = VersionTile(version, version.tiling(tiling).tiles[0])
                self._restore_tile(tile, list(frames), frames.__getitem__)
            held = torch.cuda.memory_reserved(self.device)
            if held > capacity:
                raise MemoryError(f"{held >> 20} MiB are more than the {capacity >> 20} MiB that were free on the GPU")

        self._in_tiles_that_fit(tiling, run)
        self.cache = self._new_cache(self.cache.max_bytes)

    def _new_exact(self, model: EDVR, tiling: Tiling) -> "Engine":
        """Makes the float32 engine for frames that overflow here, with smaller tiles if float32 needs too much memory."""
        ensemble = len(self.versions)
        budget = self.cache.max_bytes + working_bytes(tiling, self.dtype, self.device, ensemble, self.steps)
        tiling = choose_tiling(tiling, torch.float32, self.device, budget, ensemble)
        return Engine(model, self.device, torch.float32, tiling, self.cache.max_bytes, ensemble)

    def _new_cache(self, max_bytes: int) -> FrameCache:
        tiles: list[VersionTile] = []
        tile_bytes = 1
        if self.tiling is not None:
            tiles = [VersionTile(version, tile) for version in self.versions for tile in version.tiling(self.tiling).tiles]
            tile_bytes = feature_bytes(self.config, tiles[0].tile, self.dtype)
        return FrameCache(tiles, self.config.num_frame, tile_bytes, max_bytes)
