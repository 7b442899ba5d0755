"""How good the network is by now: PSNR on frames that it does not learn from."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.compare.metrics import psnr, rgb_to_y
from vsedvr.data.clip import Frame
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair, to_frame
from vsedvr.infer import Tiling, default_tile_pad
from vsedvr.infer.device import computing
from vsedvr.model import EDVR
from vsedvr.train.degradation import degrade
from vsedvr.train.preset import Preset
from vsedvr.train.sources import told

__all__ = ["Validation"]

TILE = 64
"""Height and width of tiles, in positions of the third level of the pyramid. They are always the same: sizes that fit the free
memory would change the score a little from one validation to the next."""

logger = logging.getLogger("vsedvr")


class _Case(NamedTuple):
    """A window to restore, and what its centre frame should become."""

    lq: Tensor
    """(num_frame, 3, h, w), uint8."""
    gt: Frame
    """(scale * h, scale * w, 3)."""


class Validation:
    """Windows of clips, as they are or degraded in the preset's way, always the same."""

    def __init__(self, preset: Preset, gt: Path, lq: Path | None, cache: Path, windows: int = 2) -> None:
        """Reads all windows into memory. A clip that cannot be read is named in a warning and left out.

        Args:
            preset: of which network, degradation and data count.
            gt: clips that are not trained on.
            lq: the same clips in low quality; without it the preset's degradations make lq.
            cache: folder for decoded videos (see clip.open_clip).
            windows: how many to take of a clip at most, evenly spread.

        Raises:
            FileNotFoundError, ValueError: if there is no clip as long as a window, or lq neither given nor made.
        """
        if lq is None and preset.data.lq:
            raise ValueError(f"{preset.name} learns from pairs: to be validated on {gt} it needs the same clips in low quality")
        self.gt, self.lq = gt, lq
        self.cases: list[_Case] = []
        reason = f"none has {preset.network.num_frame} frames, as many as a window"
        for name, paths in find_pairs(gt, lq).items():
            try:
                pair = open_pair(name, paths, cache, preset.network.scale, preset.data.max_frames)
                starts = _starts(pair.num_frames - preset.network.num_frame + 1, windows)
                cases = [_case(pair, start, preset, seed) for seed, start in enumerate(starts, len(self.cases))]
            except Exception as error:  # libraries for files raise nearly everything
                reason = told(paths[0], error)
                logger.warning("left out of the validation: %s", reason)
            else:
                self.cases += cases
        if not self.cases:
            raise ValueError(f"no clip in {gt} can be used for validation: {reason}")
        self.digest = _digest(self.cases)
        """A hash of all its pixels: scores of the same validation compare."""

    def __call__(self, model: EDVR) -> tuple[float, list[Frame]]:
        """Mean PSNR of luma in dB over all windows, each at most metrics.MAX_PSNR, and their restored frames (h, w, 3)."""
        restored = [_restore(model, case.lq) for case in self.cases]
        scores = [psnr(rgb_to_y(picture), rgb_to_y(case.gt)) for picture, case in zip(restored, self.cases, strict=True)]
        return float(np.mean(scores)), restored


def _starts(places: int, windows: int) -> list[int]:
    """First frames of windows, evenly spread.

    Args:
        places: frames that a window may begin with; 0 and less is none.
        windows: how many to take at most.
    """
    count = min(windows, max(places, 0))
    return [int(places * (n + 0.5) / count) for n in range(count)]


def _case(pair: ClipPair, start: int, preset: Preset, seed: int) -> _Case:
    """The window of a clip that begins with a frame, degraded where the clip has no low quality."""
    numbers = range(start, start + preset.network.num_frame)
    gt = [pair.gt_frame(n) for n in numbers]
    lq = [pair.lq_frame(n) for n in numbers] if pair.lq else gt
    window = torch.from_numpy(np.stack(lq)).permute(0, 3, 1, 2)
    if not pair.lq:
        degraded = degrade(window.float() / 255, preset.degradation, np.random.default_rng(seed))
        window = (degraded * 255).round().to(torch.uint8)
    return _Case(window.contiguous(), gt[preset.network.center])


def _digest(cases: list[_Case]) -> str:
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.lq.numpy().tobytes())
        digest.update(case.gt.tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def _restore(model: EDVR, lq: Tensor) -> Frame:
    """Runs the network in float32 over a window (t, 3, h, w), uint8."""
    config, device = model.config, next(model.parameters()).device
    height, width = lq.shape[-2:]
    side = TILE * config.size_multiple
    tiling = Tiling(height, width, (side, side), default_tile_pad(config), config)
    parts = []
    for tile in tiling.tiles:
        window = torch.stack([tile.crop(frame) for frame in lq]).to(device).float() / 255
        window = F.pad(window, (0, tile.width - window.shape[3], 0, tile.height - window.shape[2]), "replicate")
        with computing(device, torch.float32):
            parts.append(model(window[None])[0].clamp(0, 1).cpu())
    return to_frame(tiling.blend(parts))
