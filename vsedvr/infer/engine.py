"""The engine: it restores a clip with an EDVR, frame by frame in any order, and keeps features that are needed again."""

import functools
import logging
import threading
from collections.abc import Callable, Sequence
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
from vsedvr.infer.pending import Pending
from vsedvr.infer.source import Load, checked, what_is_not_finite
from vsedvr.infer.stream import Stream
from vsedvr.infer.tile import Tile, Tiling
from vsedvr.infer.transfer import start_download, upload
from vsedvr.model import EDVR, FrameFeatures

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
        streams: int = 1,
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
            streams: number of frames that are restored at a time. Their order varies, so features are kept for a few more.

        Raises:
            ValueError: for another ensemble.
            MemoryError: if a GPU's memory runs out even with the smallest tiles.
        """
        self.config = model.config
        self.dtype = dtype
        self.tiling = tiling
        self.steps = steps
        self.versions = transforms(ensemble)
        self.streams = streams
        self.network = Network.shared(model, device, dtype)
        self.model, self.device = self.network.model, self.network.device
        self.stream = Stream(self.device)
        self.lock = threading.Lock()
        self.exact: Engine | None = None
        self.arena: ops.Arena | None = None
        self.cache = self._new_cache(cache_bytes)
        if self.device.type == "cuda":
            ops.prepare(self.device)
            if tiling is not None:
                self._warm_up(tiling)

    @torch.inference_mode()
    def launch(self, indices: Sequence[int], load: Load) -> Pending:
        """Starts to restore the centre frame of a window, and does not wait for the device. A CPU does all the work here.

        It may be called from any thread. Launches of one engine take turns, and the device works in their order.

        Args:
            indices: the window's num_frame source frame numbers; the same number must always mean the same frame.
            load: returns the source frame with a given number, (num_in_ch, h, w), on the CPU, in the size that the tiling is
                for. Values are clamped to [0, 1]. It is called once for each frame whose features are not in the cache; if a
                frame has to be restored anew it may be called later, when the result is fetched.

        Returns:
            The frame that is being restored.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out even with the smallest tiles.
        """
        load = functools.cache(load)
        with self.lock:
            if self.tiling is None:
                height, width = load(indices[self.config.center]).shape[-2:]
                self.tiling = Tiling.whole(height, width, self.config)
                self.cache = self._new_cache(self.cache.max_bytes)
            load = checked(load, (self.config.num_in_ch, self.tiling.height, self.tiling.width))
            picture, finite = self._in_tiles_that_fit(self.tiling, lambda tiling: self._picture(tiling, indices, load))
            again = functools.partial(self._again, (self.tiling, self.steps), indices, load)
            return Pending(picture, finite, self.stream.mark(), again)

    def restore(self, indices: Sequence[int], load: Load) -> Tensor:
        """Restores the centre frame of a window: launches it and waits for it.

        Args:
            indices, load: as for `launch`.

        Returns:
            The restored frame, (num_out_ch, scale * h, scale * w), float32, clamped to [0, 1], on the CPU.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out even with the smallest tiles.
            RuntimeError: if the restored frame has NaN or infinity in it even in float32, or if the device fails.
        """
        return self.launch(indices, load).result().float()

    def _picture(self, tiling: Tiling, indices: Sequence[int], load: Load) -> tuple[Tensor, Tensor]:
        """Launches a picture: all its tiles in all versions, their mean, and the copy to the CPU.

        A picture restored in one tile and one version keeps the data type of the network; all others are joined in float32.

        Returns:
            The picture, clamped to [0, 1], and whether all numbers that the network gave are finite. Both are on the CPU, and
            have their values when the stream has done its work.
        """
        finite: list[Tensor] = []
        dtype = self.dtype if len(self.versions) == len(tiling.tiles) == 1 else torch.float32

        def restored(version: Transform) -> Tensor:
            turned, of_version = version.tiling(tiling), functools.cache(lambda i: version.apply(load(i)))
            tiles = (self._restore_tile(VersionTile(version, tile), indices, of_version, finite) for tile in turned.tiles)
            return turned.blend((tile.to(dtype).contiguous() for tile in tiles), self.device)

        with self.stream.current():
            picture = mean_of_versions(self.versions, restored).clamp_(0, 1).contiguous()
            return start_download(picture), start_download(torch.stack(finite).all())

    @torch.inference_mode()
    def _again(self, before: tuple[Tiling, Steps], indices: Sequence[int], load: Load, error: RuntimeError | None) -> Tensor:
        """Restores a frame anew: with less memory than before if an error says that it ran out, else in float32."""
        tiling, steps = before
        if error is not None:
            with self.lock:
                if self.tiling is tiling and self.steps == steps:  # else another frame has led to smaller ones meanwhile
                    self._use_tiles(smaller_tiling(tiling, error) if steps == SMALL_STEPS else tiling, tiling)
            return self.restore(indices, load)
        name = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
        message = f"frame {indices[self.config.center]} is not finite in {name}"
        if self.network.exact_model is None:
            raise RuntimeError(f"{message}: {what_is_not_finite(indices, load)}")
        with self.lock:
            if self.exact is None:
                logger.warning("%s; such frames are computed again in fp32. With precision fp32 all are, at once", message)
                self.exact = self._new_exact(self.network.exact_model, tiling)
        return self.exact.restore(indices, load)

    def _restore_tile(self, tile: VersionTile, indices: Sequence[int], load: Load, finite: list[Tensor]) -> Tensor:
        """Launches one tile of a frame, and adds to `finite` whether all its numbers are finite.

        Returns:
            The restored tile as the network gives it, on the device.
        """
        found = {i: self.cache.get((i, tile)) for i in dict.fromkeys(indices)}
        # Pictures are loaded here: while the settings of `computing` hold, other engines cannot launch
        pictures = {i: self._upload(tile.tile, load(i)) for i, frame in found.items() if frame is None}

        def frame_tile(i: int) -> FrameTile:
            frame = found[i] or self._extract(pictures.pop(i))
            found[i] = None
            self.cache.put((i, tile), frame)
            return frame

        with computing(self.device, self.dtype), self._reused_memory():
            if tile in self.cache.tiles:  # its features stay anyway, and enter the cache in the window's order
                window = {i: frame_tile(i) for i in found}
                center, feat = self._fuse(indices, window.pop)
            else:
                center, feat = self._fuse(indices, frame_tile)
            restored = self.model.reconstruct(feat, center, self.steps.rows)[0]
            finite.append(torch.stack(restored.aminmax()).isfinite().all())  # one NaN makes both of them NaN
        return restored

    def _reused_memory(self) -> AbstractContextManager[None]:
        """Context in which kernels on a CPU write their results to memory reused from tile to tile; none on a GPU.

        The features that the cache keeps lie there, too: between short-lived results, the C library's memory would get gaps
        of a fifth of all. There is room for two frames more, as many as there are of a tile that is not kept.
        """
        if self.device.type != "cpu" or self.tiling is None:
            return nullcontext()
        if self.arena is None:
            working = arena_bytes(self.tiling, self.dtype, len(self.versions))
            features = self.cache.room + 2 * feature_bytes(self.config, self.tiling.tiles[0], self.dtype)
            self.arena = ops.Arena(working + features)
        return self.arena.lent()

    def _fuse(self, indices: Sequence[int], frame_tile: Callable[[int], FrameTile]) -> tuple[Tensor, Tensor]:
        """Aligns and fuses a window's frames.

        In small steps they are asked for and aligned one at a time. So of a tile that the cache does not keep, only the centre
        frame's features and those of one more are there together.

        Args:
            indices: the window's frame numbers.
            frame_tile: returns a frame's pixels and features. It is called once for each frame.

        Returns:
            The centre frame's pixels, and the fused features. All else is freed, before reconstruction needs memory.
        """
        middle, numbers = indices[self.config.center], list(dict.fromkeys(indices))
        center = frame_tile(middle)

        def features(i: int) -> FrameFeatures:
            return (center if i == middle else frame_tile(i)).features

        if self.steps.at_once:
            at_once = self.model.align_all([features(i) for i in numbers], center.features)
            aligned = dict(zip(numbers, at_once, strict=True))
        else:
            aligned = {i: self.model.align(features(i), center.features) for i in numbers}
        return center.lq, self.model.fuse([aligned[i] for i in indices])

    def _extract(self, lq: Tensor) -> FrameTile:
        return FrameTile(lq, self.model.extract(lq))

    def _upload(self, tile: Tile, picture: Tensor) -> Tensor:
        """Starts to copy a tile's pixels to the device, clamps them, and pads them to the tile's size."""
        lq = upload(tile.crop(picture)[None], self.device, self.dtype).clamp(0, 1)
        padding = 0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]
        return F.pad(lq, padding, "replicate").contiguous(memory_format=torch.channels_last)

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
            self._use_tiles(smaller, tiling)  # after the except block, because the error keeps tensors alive
            tiling = smaller

    def _use_tiles(self, tiling: Tiling, before: Tiling) -> None:
        """Changes to small steps and to other tiles after memory ran out, and forgets the features of the tiles before."""
        # The memory in use when it ran out is about all there is; from here on half of it is for features
        in_use = self.cache.nbytes + working_bytes(before, self.dtype, self.device, len(self.versions), self.steps)
        self.steps = SMALL_STEPS
        self.tiling = tiling
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
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # memory that PyTorch keeps for another stream could not be used in this one
        capacity = torch.cuda.memory_allocated(self.device) + free_bytes(self.device)
        shape = self.config.num_in_ch, tiling.height, tiling.width
        black = torch.zeros((), dtype=torch.float32, device="cpu").expand(shape)

        def run(tiling: Tiling) -> None:
            for version in {version.transposed: version for version in self.versions}.values():
                frames = dict.fromkeys(range(self.config.num_frame), version.apply(black))
                tile = VersionTile(version, version.tiling(tiling).tiles[0])
                with self.stream.current():
                    self._restore_tile(tile, list(frames), frames.__getitem__, [])
                self.stream.mark()()
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
        return Engine(model, self.device, torch.float32, tiling, self.cache.max_bytes, ensemble, streams=self.streams)

    def _new_cache(self, max_bytes: int) -> FrameCache:
        tiles: list[VersionTile] = []
        tile_bytes = 1
        if self.tiling is not None:
            tiles = [VersionTile(version, tile) for version in self.versions for tile in version.tiling(self.tiling).tiles]
            tile_bytes = feature_bytes(self.config, tiles[0].tile, self.dtype)
        return FrameCache(tiles, self.config.num_frame, tile_bytes, max_bytes, self.streams)
