"""Restores pairs of clips for evaluation: with a model, in the same engine as the filter, or with the baseline."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair, to_frame, to_tensor
from vsedvr.data.resize import enlarge
from vsedvr.infer import Engine, build_engine, clip_windows
from vsedvr.model import EDVR

__all__ = ["PairRestorer", "Restore", "baseline", "baseline_name"]

Restore = Callable[[ClipPair, int], Frame]
"""A function that returns a restored frame, from a pair of clips and the frame's number."""


class _Running(NamedTuple):
    """An engine while it restores one clip."""

    pair: ClipPair
    size: tuple[int, int]
    engine: Engine
    first_number: int
    """Number of the clip's first frame in the engine. It caches features by frame number, so each clip gets new numbers."""


class PairRestorer:
    """Restores frames with one model as the filter does: windows, padding, scenes, tiles and 8-bit output."""

    def __init__(
        self,
        model: EDVR,
        device: torch.device,
        dtype: torch.dtype,
        padding: str | None = None,
        tile: tuple[int, int] | None = None,
    ) -> None:
        """Keeps the settings; memory is used only when the first frame is restored.

        Args:
            model: the network.
            device: device of the engine.
            dtype: floating-point type in which the engine computes.
            padding: one of timeline.PADDINGS; by default the one that such models are tested with.
            tile: (width, height) of tiles in pixels, (0, 0) for none; by default as large as the free memory allows.
        """
        self.model = model
        self.device = device
        self.dtype = dtype
        self.padding = padding
        self.tile = tile
        self.running: _Running | None = None

    def __call__(self, pair: ClipPair, n: int) -> Frame:
        """Restores frame n of a clip, (scale * h, scale * w, 3), uint8."""
        if self.running is None or self.running.pair is not pair:
            self.running = self._start(pair)
        first = self.running.first_number
        windows = clip_windows(self.model.config, pair.num_frames, self.padding)
        numbers = [first + i for i in windows.indices_in_scene(n, pair.scene_starts)]
        return to_frame(self.running.engine.restore(numbers, lambda number: to_tensor(pair.lq_frame(number - first))))

    def _start(self, pair: ClipPair) -> _Running:
        before = self.running
        if before and before.size == pair.lq_size:
            return _Running(pair, before.size, before.engine, before.first_number + before.pair.num_frames)
        engine = build_engine(self.model, self.device, self.dtype, pair.lq_size, self.tile)
        return _Running(pair, pair.lq_size, engine, 0)


def baseline_name(scale: int) -> str:
    """Returns the name of the baseline in tables."""
    return "input" if scale == 1 else "bicubic"


def baseline(pair: ClipPair, n: int) -> Frame:
    """Returns the frame that models must beat: MATLAB's bicubic enlargement, or for scale 1 the input itself."""
    lq = pair.lq_frame(n)
    return lq if pair.scale == 1 else to_frame(enlarge(to_tensor(lq), pair.scale).clamp(0, 1))
