"""Validation: measures the PSNR of the network on frames that it does not learn from."""

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

__all__ = ["Validated", "Validation"]

TILE = 64
"""Height and width of tiles, in positions of the third level of the pyramid. They never change: sizes that depend on the free
memory would change the score a little from one validation to the next."""

logger = logging.getLogger("vsedvr")


class _Case(NamedTuple):
    """A window to restore, with the ground truth of its centre frame."""

    lq: Tensor
    """Window (num_frame, 3, h, w), uint8."""
    gt: Frame
    """Ground truth (scale * h, scale * w, 3), uint8."""


class Validated(NamedTuple):
    """Result of a validation."""

    psnr_y: float
    """Mean PSNR of luma in dB, each window's limited to metrics.MAX_PSNR."""
    neighbours: float
    """How many dB of psnr_y the neighbours of the centre frame are worth: what is lost when it takes their places."""
    pictures: list[Frame]
    """The restored frames (h, w, 3)."""


class Validation:
    """Windows of clips, in given low quality or degraded by the preset's degradations; always the same windows."""

    def __init__(self, preset: Preset, gt: Path, lq: Path | None, cache: Path, windows: int = 2) -> None:
        """Reads all windows into memory. A clip that cannot be read is left out, with a warning.

        Args:
            preset: its network, degradation and data settings are used.
            gt: folder of clips that are not used for training.
            lq: folder of the same clips in low quality; if None, the preset's degradations make lq.
            cache: folder for decoded videos (see clip.open_clip).
            windows: maximum number of windows per clip, evenly spread.

        Raises:
            FileNotFoundError, ValueError: if no clip is as long as a window, or lq is neither given nor made.
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
            except Exception as error:  # libraries that read files raise errors of almost any type
                reason = told(paths[0], error)
                logger.warning("left out of the validation: %s", reason)
            else:
                self.cases += cases
        if not self.cases:
            raise ValueError(f"no clip in {gt} can be used for validation: {reason}")
        self.digest = _digest(self.cases)
        """Hash of all pixels. Only scores of validations with the same digest compare."""

    def __call__(self, model: EDVR) -> Validated:
        """Restores all windows, and again with the centre frame in place of its neighbours."""
        pictures = [_restore(model, case.lq) for case in self.cases]
        alone = [_restore(model, case.lq[[model.config.center] * len(case.lq)]) for case in self.cases]
        psnr_y = self._psnr_y(pictures)
        return Validated(psnr_y, psnr_y - self._psnr_y(alone), pictures)

    def _psnr_y(self, pictures: list[Frame]) -> float:
        scores = [psnr(rgb_to_y(picture), rgb_to_y(case.gt)) for picture, case in zip(pictures, self.cases, strict=True)]
        return float(np.mean(scores))


def _starts(places: int, windows: int) -> list[int]:
    """Returns the numbers of the windows' first frames, evenly spread.

    Args:
        places: number of frames with which a window may begin; none if it is 0 or less.
        windows: maximum number of windows.
    """
    count = min(windows, max(places, 0))
    return [int(places * (n + 0.5) / count) for n in range(count)]


def _case(pair: ClipPair, start: int, preset: Preset, seed: int) -> _Case:
    """Makes the window of a clip that begins with frame `start`; degrades it if the clip has no low quality."""
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
    """Restores the centre frame of a window (t, 3, h, w), uint8, in float32."""
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
