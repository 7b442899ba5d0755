"""How good the network is by now: PSNR on frames that it does not learn from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vsedvr.infer import Engine
from vsedvr.model import EDVR
from vsedvr.train.clip import Clip, Frame, find_clips, open_clip
from vsedvr.train.degradation import degrade
from vsedvr.train.metrics import psnr, rgb_to_y
from vsedvr.train.pairs import to_frame, to_tensor
from vsedvr.train.preset import Preset

__all__ = ["Validation"]


class _Case(NamedTuple):
    lq: Tensor
    """(num_frame, 3, h, w) in [0, 1]."""
    gt: Frame
    """(scale * h, scale * w, 3)."""


class Validation:
    """Windows from the middle of clips, degraded in the preset's way, always the same."""

    def __init__(self, preset: Preset, folder: Path, cache: Path, windows: int = 2) -> None:
        """
        Args:
            preset: of which network, degradation and data count.
            folder: clips that are not trained on.
            cache: folder for decoded videos (see clip.open_clip).
            windows: how many to take of a clip, evenly spread.

        Raises:
            FileNotFoundError, ValueError: if there is no clip as long as a window.
        """
        self.cases: list[_Case] = []
        for path in find_clips(folder).values():
            clip = open_clip(path, cache, preset.data.max_frames)
            places = len(clip) - preset.network.num_frame + 1
            starts = sorted({int(places * (n + 0.5) / windows) for n in range(windows)}) if places > 0 else []
            self.cases += [_case(clip, start, preset, seed) for seed, start in enumerate(starts, len(self.cases))]
        if not self.cases:
            raise ValueError(f"no clip in {folder} has {preset.network.num_frame} frames")

    def __call__(self, model: EDVR) -> tuple[float, list[Frame]]:
        """Mean Y-PSNR in dB over all windows, and their restored frames."""
        restored = [_restore(model, case.lq) for case in self.cases]
        scores = [psnr(rgb_to_y(picture), rgb_to_y(case.gt)) for picture, case in zip(restored, self.cases, strict=True)]
        return float(np.mean(scores)), restored


def _case(clip: Clip, start: int, preset: Preset, seed: int) -> _Case:
    network = preset.network
    multiple = 4 * network.scale
    height, width = (side // multiple * multiple for side in clip[start].shape[:2])
    frames = np.stack([clip[start + n][:height, :width] for n in range(network.num_frame)])
    window = torch.stack([to_tensor(frame) for frame in frames])
    return _Case(degrade(window, preset.degradation, np.random.default_rng(seed)), frames[network.center])


def _restore(model: EDVR, lq: Tensor) -> Frame:
    engine = Engine(model, next(model.parameters()).device)
    picture = engine.restore(range(len(lq)), lq.__getitem__)
    return to_frame(picture)
