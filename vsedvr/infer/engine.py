"""The engine: it restores a clip with an EDVR, frame by frame in any order, and keeps features that are needed again."""

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vsedvr import ops
from vsedvr.infer.beyond import add_beyond
from vsedvr.infer.device import PRECISIONS
from vsedvr.infer.ensemble import transforms
from vsedvr.infer.memory import SMALL_STEPS, Steps, choose_tiling, is_out_of_memory, working_bytes
from vsedvr.infer.network import Network
from vsedvr.infer.pending import Pending
from vsedvr.infer.phases import Phases
from vsedvr.infer.picture import restore_picture
from vsedvr.infer.source import Load, what_is_not_finite
from vsedvr.infer.stream import Stream
from vsedvr.infer.tile import Tiling
from vsedvr.infer.transfer import start_download, upload
from vsedvr.infer.warm_up import capacity_of_gpu, restore_black
from vsedvr.infer.workspace import Workspace
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
        self.network = Network.shared(model, device, dtype)
        self.model, self.device = self.network.model, self.network.device
        self.phases = Phases(self.model, self.device, dtype)
        self.workspace = Workspace(self.config, self.device, dtype, transforms(ensemble), streams, tiling, steps, cache_bytes)
        self.stream = Stream(self.device)
        self.lock = threading.Lock()
        self.exact: Engine | None = None
        if self.device.type == "cuda":
            ops.prepare(self.device)
            if tiling is not None:
                self._warm_up()

    @property
    def tiling(self) -> Tiling | None:
        """How pictures are divided into tiles; None until the size of the pictures is known."""
        return self.workspace.tiling

    @torch.inference_mode()
    def launch(
        self, indices: Sequence[int], load: Load, *, keep_beyond: bool = False, dtype: torch.dtype | None = None
    ) -> Pending:
        """Starts to restore the centre frame of a window, and does not wait for the device. A CPU does all the work here.

        It may be called from any thread. Launches of one engine take turns, and the device works in their order.

        Args:
            indices: the window's num_frame source frame numbers; the same number must always mean the same frame.
            load: returns the source frame with a given number, (num_in_ch, h, w), on the CPU, in the size that the tiling is
                for. Values are clamped to [0, 1]. It is called once for each frame whose features are not in the cache, and for
                the centre frame if values beyond are kept. If a frame has to be restored anew it may be called later, when
                the result is fetched.
            keep_beyond: whether to add the centre frame's values outside of [0, 1] to the result (see beyond.py).
            dtype: data type that the result is rounded to on the device, so that less is copied. By default it is not
                rounded: it is float32, or in the data type of the network if that holds the same values.

        Returns:
            The frame that is being restored.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out even with the smallest tiles.
        """
        load = functools.cache(load)
        with self.lock:
            if self.workspace.tiling is None:
                height, width = load(indices[self.config.center]).shape[-2:]
                self.workspace = replace(self.workspace, tiling=Tiling.whole(height, width, self.config))

            def launch_in(workspace: Workspace) -> Pending:
                with self.stream.current():
                    picture, finite = restore_picture(self.phases, workspace, indices, load)
                    if keep_beyond:
                        source = upload(load(indices[self.config.center]), self.device, torch.float32)
                        picture = add_beyond(picture, source)
                    copies = start_download(picture.to(dtype or picture.dtype)), start_download(finite)
                again = functools.partial(self._again, workspace, indices, load, keep_beyond)
                return Pending(*copies, self.stream.mark(), again)

            return self._in_a_workspace_that_fits(launch_in)

    def restore(self, indices: Sequence[int], load: Load, *, keep_beyond: bool = False) -> Tensor:
        """Restores the centre frame of a window: launches it and waits for it.

        Args:
            indices, load, keep_beyond: as for `launch`.

        Returns:
            The restored frame, (num_out_ch, scale * h, scale * w), float32, on the CPU; clamped to [0, 1] before values outside
            are added.

        Raises:
            ValueError: if a frame has another size or number of channels.
            MemoryError: if memory runs out even with the smallest tiles.
            RuntimeError: if the restored frame has NaN or infinity in it even in float32, or if the device fails.
        """
        return self.launch(indices, load, keep_beyond=keep_beyond).result().float()

    @torch.inference_mode()
    def _again(
        self, before: Workspace, indices: Sequence[int], load: Load, keep_beyond: bool, error: RuntimeError | None
    ) -> Tensor:
        """Restores a frame anew: with less memory than before if an error says that it ran out, else in float32."""
        if error is not None:
            with self.lock:
                if self.workspace is before:  # else another frame has led to a smaller one meanwhile
                    self._use(before.smaller(error))
            return self.restore(indices, load, keep_beyond=keep_beyond)
        name = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
        message = f"frame {indices[self.config.center]} is not finite in {name}"
        if self.network.exact_model is None:
            raise RuntimeError(f"{message}: {what_is_not_finite(indices, load)}")
        with self.lock:
            if self.exact is None:
                logger.warning("%s; such frames are computed again in fp32. With precision fp32 all are, at once", message)
                self.exact = self._new_exact(self.network.exact_model, before)
        return self.exact.restore(indices, load, keep_beyond=keep_beyond)

    def _in_a_workspace_that_fits[T](self, run: Callable[[Workspace], T]) -> T:
        """Calls `run` with the workspace, and while memory runs out, with smaller ones; keeps the one that fits.

        Returns:
            What the call that succeeded returned.

        Raises:
            MemoryError: if memory runs out even with the smallest tiles.
        """
        while True:
            try:
                return run(self.workspace)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.workspace.smaller(error)
            self._use(smaller)  # after the except block, because the error keeps tensors alive

    def _use(self, workspace: Workspace) -> None:
        """Puts another workspace in place of the one after memory ran out, and frees what that one kept."""
        self.workspace = workspace
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _warm_up(self) -> None:
        """Restores a black tile on the GPU, in a smaller workspace if memory runs out (see warm_up.py)."""
        run = functools.partial(restore_black, self.phases, self.stream, capacity_of_gpu(self.device))
        self._in_a_workspace_that_fits(run)
        self.workspace = replace(self.workspace)  # without the black frames

    def _new_exact(self, model: EDVR, workspace: Workspace) -> "Engine":
        """Makes the float32 engine for frames that overflow here, with smaller tiles if float32 needs too much memory."""
        tiling, ensemble = workspace.tiling, len(workspace.versions)
        assert tiling is not None
        budget = workspace.cache_bytes + working_bytes(tiling, self.dtype, self.device, ensemble, workspace.steps)
        tiling = choose_tiling(tiling, torch.float32, self.device, budget, ensemble)
        streams = workspace.streams
        return Engine(model, self.device, torch.float32, tiling, workspace.cache_bytes, ensemble, streams=streams)
