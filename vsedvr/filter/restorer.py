"""The callback that restores a frame when VapourSynth requests it."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import vapoursynth as vs
from numpy.typing import NDArray
from torch import Tensor

from vsedvr.filter.compute import compute
from vsedvr.filter.errors import edvr_error
from vsedvr.filter.frames import beyond, enlarged, same_picture, to_frame, to_tensor
from vsedvr.filter.scenes import begins_scene
from vsedvr.infer import Engine
from vsedvr.timeline import Windows, within_scene

__all__ = ["Restorer"]

logger = logging.getLogger("vsedvr")


class Still(NamedTuple):
    """A picture that filled a whole window (all its frames were equal), with its restored frame."""

    picture: vs.VideoFrame
    result: vs.VideoFrame


class Restorer:
    """The callback of the graph's main node. VapourSynth calls it for one frame at a time, from any of its threads."""

    def __init__(self, engine: Engine, windows: Windows, format: vs.VideoFormat, keep_beyond: bool) -> None:
        """
        Args:
            engine: restores the frames.
            windows: tells which source frames are in the window of a frame.
            format: format of the returned frames, RGBS or GRAYS.
            keep_beyond: whether to add values of the input outside of [0, 1] to the result.
        """
        self.engine = engine
        self.windows = windows
        self.format = format
        self.keep_beyond = keep_beyond
        self.still: Still | None = None

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
            self.still = None
            return self._compute(indices, frames, n)
        if self.still is None or not same_picture(self.still.picture, here):
            self.still = Still(here, self._compute(indices, frames, n))
        return self.still.result

    def _compute(self, indices: list[int], frames: dict[int, vs.VideoFrame], n: int) -> vs.VideoFrame:
        planes = compute(self.engine.device, self._planes, indices, lambda i: to_tensor(frames[i]), n)
        return to_frame(planes, self.format)

    @torch.inference_mode()
    def _planes(self, indices: list[int], load: Callable[[int], Tensor], n: int) -> NDArray[np.float32]:
        channels, scale = self.engine.config.num_in_ch, self.engine.config.scale
        planes = self.engine.restore(indices, lambda i: load(i).clamp_(0, 1).expand(channels, -1, -1))
        outside = beyond(load(n), scale) if self.keep_beyond else None
        if outside is not None:
            planes = planes + outside
        return (planes.mean(0, keepdim=True) if self.format.num_planes < channels else planes).numpy()

    def _with_alpha(self, source: vs.VideoFrame, restored: vs.VideoFrame) -> vs.VideoFrame:
        """Adds the prop _Alpha to a restored frame, enlarged to its size, if the source frame has one."""
        alpha, scale = source.props.get("_Alpha"), self.engine.config.scale
        if not isinstance(alpha, vs.VideoFrame):
            return restored
        if scale > 1:
            plane = compute(self.engine.device, enlarged, np.asarray(alpha[0]), scale)
            alpha = to_frame(plane[None], alpha.format)
        frame = restored.copy()
        frame.props["_Alpha"] = alpha
        return frame
