"""The callback that restores a frame when VapourSynth requests it."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

from vsedvr.filter.compute import compute
from vsedvr.filter.errors import edvr_error
from vsedvr.filter.frames import enlarged, fill, reaches_beyond, same_picture, to_frame, to_tensor, writable_planes
from vsedvr.filter.scenes import begins_scene
from vsedvr.infer import Engine, Pending, staging_memory
from vsedvr.timeline import Windows, within_scene

__all__ = ["Restorer"]

logger = logging.getLogger("vsedvr")


CPU = torch.device("cpu")

NEAR = 32
"""Distance in frames up to which a still picture may be needed by a frame that is restored at the same time."""


class Still(NamedTuple):
    """A picture that filled a whole window (all its frames were equal), with its restored frame."""

    picture: vs.VideoFrame
    result: Future[vs.VideoFrame]


class Restorer:
    """The callback of the graph's main nodes, called for several frames at a time if there are several nodes.

    A frame is launched in the thread of its device, and its planes are copied in that of the CPU. The thread that VapourSynth
    calls with only waits, so that the device can work on the next frame meanwhile.
    """

    def __init__(
        self, engines: Sequence[Engine], windows: Windows, format: vs.VideoFormat, keep_beyond: bool, streams: int = 1
    ) -> None:
        """
        Args:
            engines: restore the frames; frame n is restored by engine n modulo their number.
            windows: tells which source frames are in the window of a frame.
            format: format of the returned frames: RGBS or GRAYS, or RGBH or GRAYH.
            keep_beyond: whether to add values of the input outside of [0, 1] to the result.
            streams: number of frames that the callback is called for at a time.
        """
        self.engines = engines
        self.config = engines[0].config
        self.windows = windows
        self.format = format
        as_restored = format.bits_per_sample == 16 and format.num_planes >= self.config.num_in_ch
        self.dtype = torch.float16 if as_restored else None  # a mean of channels is rounded only after it is taken
        self.keep_beyond = keep_beyond
        self.streams = streams
        self.lock = threading.Lock()
        self.still: Still | None = None
        self.last_still = 0

    def __call__(self, n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        """Restores a frame.

        Args:
            n: number of the frame to restore.
            f: frames of its window in RGBS or GRAYS, with the props that tell where scenes start.

        Raises:
            vapoursynth.Error: "edvr: ..." with the number of the frame, if it cannot be restored.
        """
        window = self.windows.indices(n)
        frames = dict(zip(window, f, strict=True))
        starts = [i for i, frame in frames.items() if begins_scene(frame)]
        try:
            return self._with_alpha(frames[n], self._restore(within_scene(window, n, starts), frames, n))
        except (ValueError, MemoryError, RuntimeError) as error:
            logger.debug("frame %d cannot be restored", n, exc_info=True)
            raise edvr_error(error, f"frame {n} cannot be restored: ") from None

    def _restore(self, indices: list[int], frames: dict[int, vs.VideoFrame], n: int) -> vs.VideoFrame:
        """Restores a frame. If all frames of the window equal those of the last still window, returns the same result again."""
        here = frames[n]
        if not all(same_picture(frames[i], here) for i in set(indices) - {n}):
            with self.lock:
                if self.streams == 1 or abs(n - self.last_still) > NEAR:
                    self.still = None
            return self._compute(indices, frames, n)
        with self.lock:
            still, self.last_still = self.still, n
            is_new = still is None or not same_picture(still.picture, here)
            if still is None or is_new:
                self.still = still = Still(here, Future())
        if is_new:
            try:
                still.result.set_result(self._compute(indices, frames, n))
            except BaseException as error:
                with self.lock:
                    self.still = None
                still.result.set_exception(error)
        return still.result.result()

    def _compute(self, indices: list[int], frames: dict[int, vs.VideoFrame], n: int) -> vs.VideoFrame:
        engine, here, scale = self.engines[n % len(self.engines)], frames[n], self.config.scale

        @cache
        def load(i: int) -> Tensor:
            picture = to_tensor(frames[i], lambda shape: staging_memory(shape, torch.float32, engine.device))
            return picture.expand(self.config.num_in_ch, -1, -1)

        keep_beyond = self.keep_beyond and reaches_beyond(here)
        pending = compute(engine.device, engine.launch, indices, load, keep_beyond=keep_beyond, dtype=self.dtype)
        frame = vs.core.create_video_frame(self.format, here.width * scale, here.height * scale)
        pending.wait()
        compute(CPU, self._fill, writable_planes(frame), pending)
        return frame

    @torch.inference_mode()
    def _fill(self, planes: list[Tensor], pending: Pending) -> None:
        """Copies the restored picture to the planes of a frame, or the mean of its channels if there is only one plane."""
        picture = pending.result()
        fill(planes, picture.float().mean(0, keepdim=True) if len(planes) < len(picture) else picture)

    def _with_alpha(self, source: vs.VideoFrame, restored: vs.VideoFrame) -> vs.VideoFrame:
        """Adds the prop _Alpha to a restored frame, enlarged to its size, if the source frame has one."""
        alpha, scale = source.props.get("_Alpha"), self.config.scale
        if not isinstance(alpha, vs.VideoFrame):
            return restored
        if scale > 1:
            plane = compute(CPU, enlarged, np.asarray(alpha[0]), scale)
            alpha = to_frame(plane[None], alpha.format)
        frame = restored.copy()
        frame.props["_Alpha"] = alpha
        return frame
