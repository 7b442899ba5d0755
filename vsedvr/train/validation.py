"""How good the network is by now: PSNR on frames that it does not learn from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vsedvr.data.clip import Frame
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair, to_frame, to_tensor
from vsedvr.evaluation.metrics import psnr, rgb_to_y
from vsedvr.infer import Engine
from vsedvr.model import EDVR
from vsedvr.train.degradation import degrade
from vsedvr.train.preset import Preset

__all__ = ["Validation"]


class _Case(NamedTuple):
    lq: Tensor
    """(num_frame, 3, h, w) in [0, 1]."""
    gt: Frame
    """(scale * h, scale * w, 3)."""


class Validation:
    """Windows of clips, as they are or degraded in the preset's way, always the same."""

    def __init__(self, preset: Preset, gt: Path, lq: Path | None, cache: Path, windows: int = 2) -> None:
        """
        Args:
            preset: of which network, degradation and data count.
            gt: clips that are not trained on.
            lq: the same clips in low quality; without it the preset's degradations make lq.
            cache: folder for decoded videos (see clip.open_clip).
            windows: how many to take of a clip, evenly spread.

        Raises:
            FileNotFoundError, ValueError: if there is no clip as long as a window, or lq neither given nor made.
        """
        if lq is None and preset.data.lq:
            raise ValueError(f"{preset.name} learns from pairs: to be validated on {gt} it needs the same clips in low quality")
        self.cases: list[_Case] = []
        for name, paths in find_pairs(gt, lq).items():
            pair = open_pair(name, paths, cache, preset.network.scale, preset.data.max_frames)
            places = pair.num_frames - preset.network.num_frame + 1
            starts = sorted({int(places * (n + 0.5) / windows) for n in range(windows)}) if places > 0 else []
            self.cases += [_case(pair, start, preset, seed) for seed, start in enumerate(starts, len(self.cases))]
        if not self.cases:
            raise ValueError(f"no clip in {gt} has {preset.network.num_frame} frames")

    def __call__(self, model: EDVR) -> tuple[float, list[Frame]]:
        """Mean Y-PSNR in dB over all windows, and their restored frames."""
        restored = [_restore(model, case.lq) for case in self.cases]
        scores = [psnr(rgb_to_y(picture), rgb_to_y(case.gt)) for picture, case in zip(restored, self.cases, strict=True)]
        return float(np.mean(scores)), restored


def _case(pair: ClipPair, start: int, preset: Preset, seed: int) -> _Case:
    numbers = range(start, start + preset.network.num_frame)
    gt = [pair.gt_frame(n) for n in numbers]
    if pair.lq:
        window = torch.stack([to_tensor(pair.lq_frame(n)) for n in numbers])
    else:
        window = degrade(torch.stack([to_tensor(frame) for frame in gt]), preset.degradation, np.random.default_rng(seed))
    return _Case(window, gt[preset.network.center])


def _restore(model: EDVR, lq: Tensor) -> Frame:
    engine = Engine(model, next(model.parameters()).device)
    picture = engine.restore(range(len(lq)), lq.__getitem__)
    return to_frame(picture)
