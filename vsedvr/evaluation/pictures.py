"""Pictures of an evaluation: PSNR over the frames, and details side by side."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vsedvr.compare.drawing import labelled_row
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import ClipPair
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Scoring

__all__ = ["Details", "Region", "detailed_region", "plot_psnr"]

REGION = (96, 128)
"""Height and width of a detail, in pixels of the ground truth."""

MAX_DETAILS = 20
"""Clips of which details are kept."""

ENLARGED = 3
"""How many times each pixel of a detail is repeated."""


class Region(NamedTuple):
    """A part of a picture, in pixels of the ground truth."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, frame: Frame, scale: int = 1) -> Frame:
        """The region of a frame that is `scale` times smaller than the one it was found in, enlarged to the same size."""
        top, left, height, width = (n // scale for n in self)
        return frame[top : top + height, left : left + width].repeat(scale, 0).repeat(scale, 1)


def detailed_region(lq: Frame, scale: int) -> Region:
    """The region in which the input has the strongest gradients, in sum.

    Args:
        lq: (h, w, 3).
        scale: how many times larger the ground truth is, in which the region is given.
    """
    luma = lq.mean(2)
    height, width = (min(want // scale, have) for want, have in zip(REGION, luma.shape, strict=True))
    gradients = sum(np.abs(gradient) for gradient in np.gradient(luma))
    sums = np.pad(gradients.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return Region(*(scale * int(n) for n in (top, left, height, width)))


class Details:
    """The same region of the middle frame of each clip: in the input, in the ground truth, and as every method restores it."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.regions: dict[str, Region] = {}
        self.crops: dict[str, dict[str, Frame]] = {}
        self.gt: dict[str, Frame] = {}

    def add(self, method: str, pair: ClipPair, n: int, restored: Frame) -> None:
        """Keeps the region of a restored frame, if it is the middle one of those of its clip that count."""
        counted = self.scoring.counted(pair.num_frames)
        if n != counted[len(counted) // 2]:
            return
        if pair.name not in self.regions:
            if len(self.regions) == MAX_DETAILS:
                return
            lq = pair.lq_frame(n)
            region = self.regions[pair.name] = detailed_region(lq, pair.scale)
            self.crops[pair.name] = {} if pair.scale == 1 else {"input": region.crop(lq, pair.scale)}
            self.gt[pair.name] = region.crop(pair.gt_frame(n))
        self.crops[pair.name][method] = self.regions[pair.name].crop(restored)

    def sheets(self) -> dict[str, Image.Image]:
        """A sheet of each clip, by the clip's name."""
        return {clip: labelled_row({**crops, "ground truth": self.gt[clip]}, ENLARGED) for clip, crops in self.crops.items()}


def plot_psnr(methods: Sequence[Method]) -> bytes:
    """A plot of the PSNR of every frame that counts, one clip after the other, as PNG."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.add_subplot(ylabel="PSNR (dB)", xlabel="frames that count")
    clips = methods[0].scores
    starts = np.cumsum([0, *(len(scores) + 1 for scores in clips.values())])
    for method in methods:
        # a gap between clips, so that no line joins them
        psnr = [value for scores in method.scores.values() for value in [*(score.psnr for score in scores.values()), np.nan]]
        axes.plot(psnr, label=method.name, marker=".", markersize=6 if len(psnr) < 200 else 1, linewidth=1)
    if len(clips) <= 12:
        for start, clip in zip(starts[:-1], clips, strict=True):
            axes.axvline(start - 0.5, color="lightgray", linewidth=1)
            axes.text(start, 1.01, clip, transform=axes.get_xaxis_transform(), fontsize="small")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="best")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
