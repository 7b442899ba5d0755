"""Restores pairs of clips for evaluation: with a model, in the same engine as the filter, or with the baseline."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair, to_frame, to_tensor
from vsedvr.data.resize import enlarge
from vsedvr.infer import Engine, build_stages, clip_windows, in_stages
from vsedvr.model import EDVR

__all__ = ["PairRestorer", "Restore", "baseline", "baseline_name"]

Restore = Callable[[ClipPair, int], Frame]
"""A function that returns a restored frame, from a pair of clips and the frame's number."""


class _Running(NamedTuple):
    """The engines of all stages while they restore one clip."""

    pair: ClipPair
    size: tuple[int, int]
    engines: list[Engine]
    first_number: int
    """Number of the clip's first frame in the engines. They cache features by frame number, so each clip gets new numbers."""
    restore: Callable[[int], Tensor]
    """Restores the frame with such a number."""


class PairRestorer:
    """Restores frames with a model as the filter does: windows, padding, scenes, tiles, two stages and 8-bit output."""

    def __init__(
        self,
        model: EDVR,
        device: torch.device,
        dtype: torch.dtype,
        padding: str | None = None,
        tile: tuple[int, int] | None = None,
        refine: EDVR | None = None,
        ensemble: int = 1,
    ) -> None:
        """Keeps the settings; memory is used only when the first frame is restored.

        Args:
            model: the network.
            device: device of the engines.
            dtype: floating-point type in which the engines compute.
            padding: one of timeline.PADDINGS; by default the one that such models are tested with.
            tile: (width, height) of tiles in pixels, (0, 0) for none; by default as large as the free memory allows.
            refine: a second network, which restores the result of the first one again. It keeps the size.
            ensemble: number of versions of each picture whose mean is the result: 1, 4 or 8.
        """
        self.models = [model] if refine is None else [model, refine]
        self.device = device
        self.dtype = dtype
        self.padding = padding
        self.tile = tile
        self.ensemble = ensemble
        self.running: _Running | None = None

    def __call__(self, pair: ClipPair, n: int) -> Frame:
        """Restores frame n of a clip, (scale * h, scale * w, 3), uint8."""
        if self.running is None or self.running.pair is not pair:
            self.running = self._start(pair)
        return to_frame(self.running.restore(self.running.first_number + n))

    def _start(self, pair: ClipPair) -> _Running:
        before = self.running
        if before and before.size == pair.lq_size:
            engines, first = before.engines, before.first_number + before.pair.num_frames
        else:
            engines = build_stages(self.models, self.device, self.dtype, pair.lq_size, self.tile, ensemble=self.ensemble)
            first = 0

        def window_of(model: EDVR) -> Callable[[int], list[int]]:
            windows = clip_windows(model.config, pair.num_frames, self.padding)
            return lambda number: [first + i for i in windows.indices_in_scene(number - first, pair.scene_starts)]

        windows = [window_of(model) for model in self.models]
        restore = in_stages(engines, windows, lambda number: to_tensor(pair.lq_frame(number - first)))
        return _Running(pair, pair.lq_size, engines, first, restore)


def baseline_name(scale: int) -> str:
    """Returns the name of the baseline in tables."""
    return "input" if scale == 1 else "bicubic"


def baseline(pair: ClipPair, n: int) -> Frame:
    """Returns the frame that models must beat: MATLAB's bicubic enlargement, or for scale 1 the input itself."""
    lq = pair.lq_frame(n)
    return lq if pair.scale == 1 else to_frame(enlarge(to_tensor(lq), pair.scale).clamp(0, 1))
