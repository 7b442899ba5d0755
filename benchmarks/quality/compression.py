"""Measures what models against H.264 gain on moving and on slow clips, and whether they correct too little or too much.

    python -m benchmarks.quality.compression --clips data/train/valid --output runs/compression [MODEL ...]

It serves to choose weights of `compression` and `compression_light`. MODEL is one of these names or a file; the clips are those
for validation. The first 30 frames of each clip (or fewer, if it is shorter) are encoded whole, and the middle 416x288 pixels
of six of them are restored. A slow clip is made from the first or last of these frames, on which 256x256 pixels move, with
things in front, by 0.3 to 2 pixels per frame. An encoder repeats much of it, and less has to be corrected at the same crf.
Three of its 30 frames are restored. The gain in luma PSNR is measured for the correction as it is, and for 0.8 and 1.2 times
the correction. The table is written to compression.md beside this script.
"""

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.quality.clips import open_large_clip
from vsedvr import load_model
from vsedvr.atomic import write_whole
from vsedvr.compare.metrics import psnr, rgb_to_y
from vsedvr.data.clip import Frame, find_clips
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.model import EDVR
from vsedvr.train.coding import Compression
from vsedvr.train.degradation import degrade
from vsedvr.train.synthesis import moving_still

FRAMES = 30
MOVING, MOVING_SIZE, LEAST_FRAMES = 6, (288, 416), 12
SLOW, SLOW_SIZE, SPEED = (6, 13, 22), 256, (0.3, 2.0)
BORDER = 8
"""Width in pixels of the border that does not count."""
SHARES = (0.8, 1.0, 1.2)
"""Factors by which the correction is multiplied: if the correction is right, smaller and larger factors gain less."""
CRF = (20, 24, 28, 32, 36)
TABLE = Path(__file__).with_suffix(".md")

Gains = NDArray[np.float64]
"""Gains in dB: one for each of SHARES."""


@dataclass(frozen=True)
class Clip:
    """A clip in full quality, and the part of it that is restored."""

    frames: Sequence[Frame]
    positions: Sequence[int]
    """Numbers of the frames that are restored."""
    size: tuple[int, int]
    """Height and width of the part that is restored, in the middle of the picture."""

    def middle(self, frames: Tensor) -> Tensor:
        """Cuts the part that is restored out of whole pictures (..., height, width)."""
        height, width = self.size
        top, left = (frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2
        return frames[..., top : top + height, left : left + width]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", default=["compression_light", "compression"])
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos or folders of frames")
    parser.add_argument("--output", type=Path, required=True, help="folder for decoded clips")
    parser.add_argument("--crf", type=int, nargs="+", default=CRF)
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args(argv)
    models = {Path(name).stem: load_model(name) for name in args.model}
    moving = list(moving_clips(args.clips, args.output))
    clips = {"moving": moving, "slow": [slow_clip(clip.frames[n], seed) for seed, clip in enumerate(moving) for n in (0, -1)]}
    rows = {}
    for crf in args.crf:
        gains = [mean_gains(models.values(), clips[kind], crf) for kind in clips]
        for name, row in zip(models, np.concatenate(gains, 1), strict=True):
            rows[name, crf] = [name, str(crf), *(f"{figure:+.3f}" for figure in row)]
            print(markdown_row(rows[name, crf]), flush=True)
    write_whole(args.table, page([rows[name, crf] for name in models for crf in args.crf], clips))


def moving_clips(root: Path, cache: Path) -> Iterator[Clip]:
    """Yields all clips below a folder.

    Raises:
        ValueError: if one is too short or too small; the message names it.
    """
    for path in find_clips(root).values():
        frames = open_large_clip(path, cache, LEAST_FRAMES, MOVING_SIZE, FRAMES)
        num_frames = min(len(frames), FRAMES)
        positions = np.linspace(3, num_frames - 4, MOVING).astype(int).tolist()
        yield Clip([frames[n] for n in range(num_frames)], positions, MOVING_SIZE)


def slow_clip(still: Frame, seed: int) -> Clip:
    """Makes a clip of a picture that moves slowly; the seed decides how."""
    times = np.arange(FRAMES, dtype=np.float64) - FRAMES // 2
    frames = moving_still(still, times, SLOW_SIZE, SPEED, np.random.default_rng(seed))
    return Clip(list(frames), SLOW, (SLOW_SIZE, SLOW_SIZE))


def mean_gains(models: Collection[EDVR], clips: Sequence[Clip], crf: float) -> Gains:
    """Returns the mean gains in dB of each model over all clips: (models, SHARES)."""
    gains = []
    for clip in clips:
        gt = torch.stack([to_tensor(frame) for frame in clip.frames])
        lq = clip.middle(degrade(gt, [Compression(crf=(crf, crf))], np.random.default_rng(0)))
        gains += [[gain(model, lq, clip.middle(gt[n]), n) for model in models] for n in clip.positions]
    return np.mean(gains, 0)


@torch.inference_mode()
def gain(model: EDVR, lq: Tensor, gt: Tensor, n: int) -> Gains:
    """Returns the gains in dB of a model at frame n of a clip: (SHARES,).

    Args:
        model: a network that keeps the size.
        lq: the clip in low quality, (t, 3, h, w) in [0, 1].
        gt: frame n in full quality, (3, h, w) in [0, 1].
        n: number of the frame.
    """
    first = n - model.config.center
    correction = model(lq[None, first : first + model.config.num_frame])[0] - lq[n]
    before, *after = (luma_psnr(lq[n] + share * correction, gt) for share in (0, *SHARES))
    return np.array(after) - before


def luma_psnr(restored: Tensor, gt: Tensor) -> float:
    """Returns the PSNR of luma in dB of two pictures (3, h, w) in [0, 1], rounded to 8 bits, without their borders."""
    inside = slice(BORDER, -BORDER)
    a, b = (rgb_to_y(to_frame(picture.clamp(0, 1)))[inside, inside] for picture in (restored, gt))
    return psnr(a, b)


def page(rows: Sequence[list[str]], clips: dict[str, list[Clip]]) -> str:
    """Returns the Markdown page with the table: what was measured, and how to measure it again."""
    heads = [kind if share == 1 else f"{kind}, times {share}" for kind in clips for share in SHARES]
    moving, slow = len(clips["moving"]), len(clips["slow"])
    return f"""# What models against H.264 gain on moving and on slow clips
In dB of luma over the input, the mean of {moving} moving and of {slow} slow clips. No model is trained on them; weights are
chosen by them. Beside the gain stands that of 0.8 and of 1.2 times the correction.
By `python -m benchmarks.quality.compression`.

{markdown_table([["model", "crf", *heads], *rows])}
"""


if __name__ == "__main__":
    main()
