"""Makes pictures of an evaluation: plots of PSNR by frame, and details side by side."""

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
"""Maximum number of clips of which details are kept."""

ENLARGED = 3
"""Number of times that each pixel of a detail is repeated in both directions."""


class Region(NamedTuple):
    """A rectangle in a picture, in pixels of the ground truth."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, frame: Frame, scale: int = 1) -> Frame:
        """Crops the region from a frame that is `scale` times smaller than the ground truth, enlarged to the region's size."""
        top, left, height, width = (n // scale for n in self)
        return frame[top : top + height, left : left + width].repeat(scale, 0).repeat(scale, 1)


def detailed_region(lq: Frame, scale: int) -> Region:
    """Finds the region in which the input has the largest sum of gradients.

    Args:
        lq: input (h, w, 3).
        scale: factor by which the ground truth is larger than the input.

    Returns:
        The region in pixels of the ground truth.
    """
    luma = lq.mean(2)
    height, width = (min(want // scale, have) for want, have in zip(REGION, luma.shape, strict=True))
    gradients = sum(np.abs(gradient) for gradient in np.gradient(luma))
    sums = np.pad(gradients.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return Region(*(scale * int(n) for n in (top, left, height, width)))


class Details:
    """Crops of the middle frame of each clip, in the same region: input, ground truth, and the result of every method."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.regions: dict[str, Region] = {}
        self.crops: dict[str, dict[str, Frame]] = {}
        self.gt: dict[str, Frame] = {}

    def add(self, method: str, pair: ClipPair, n: int, restored: Frame) -> None:
        """Keeps the region of a restored frame, if it is the middle one of the clip's scored frames."""
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
        """Returns a picture for each clip, by the clip's name, with the crops side by side."""
        return {clip: labelled_row({**crops, "ground truth": self.gt[clip]}, ENLARGED) for clip, crops in self.crops.items()}


def plot_psnr(methods: Sequence[Method]) -> bytes:
    """Plots the PSNR of every scored frame, one clip after the other; returns the content of a PNG file."""
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
