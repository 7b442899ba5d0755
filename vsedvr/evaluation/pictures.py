"""Pictures of an evaluation: PSNR over the frames, and details side by side."""

import io
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vsedvr.compare.drawing import labelled_row
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import Pair
from vsedvr.evaluation.metrics import Protocol
from vsedvr.evaluation.report import Method

__all__ = ["Details", "Region", "detailed_region", "plot_psnr"]

REGION = (96, 128)
"""Height and width of a detail, in pixels of the ground truth."""

MAX_DETAILS = 20
"""Clips of which details are kept."""

ENLARGED = 3
"""How many times each pixel of a detail is repeated."""


class Region(NamedTuple):
    top: int
    left: int
    height: int
    width: int

    def crop(self, frame: Frame, scale: int = 1) -> Frame:
        """The region of a frame that is `scale` times smaller than the one it was found in, enlarged to the same size."""
        top, left, height, width = (n // scale for n in self)
        return frame[top : top + height, left : left + width].repeat(scale, 0).repeat(scale, 1)


def detailed_region(lq: Frame, scale: int) -> Region:
    """Where the input has the strongest gradients, in sum over a region.

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
    """The same region of the middle frame of each clip, in the input, the ground truth, and as every method restores it."""

    def __init__(self, pairs: Iterable[Pair], protocol: Protocol) -> None:
        self.shown: dict[str, int] = {}
        self.regions: dict[str, Region] = {}
        self.crops: dict[str, dict[str, Frame]] = {}
        self.gt: dict[str, Frame] = {}
        for pair in islice(pairs, MAX_DETAILS):
            counted = protocol.counted(pair.num_frames)
            n = self.shown[pair.name] = counted[len(counted) // 2]
            region = self.regions[pair.name] = detailed_region(pair.lq_frame(n), pair.scale)
            self.crops[pair.name] = {} if pair.scale == 1 else {"input": region.crop(pair.lq_frame(n), pair.scale)}
            self.gt[pair.name] = region.crop(pair.gt_frame(n))

    def add(self, method: str, pair: Pair, n: int, restored: Frame) -> None:
        """Takes what it needs of a restored frame."""
        if self.shown.get(pair.name) == n:
            self.crops[pair.name][method] = self.regions[pair.name].crop(restored)

    def sheets(self) -> dict[str, Image.Image]:
        """A sheet of each clip by the clip's name."""
        return {clip: labelled_row({**crops, "ground truth": self.gt[clip]}, ENLARGED) for clip, crops in self.crops.items()}


def plot_psnr(methods: Sequence[Method]) -> bytes:
    """PSNR of every frame that counts, one clip after the other, as PNG."""
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
