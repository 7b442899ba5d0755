"""Pairs of clips: the low quality that a model gets, and the ground truth that it should restore, frame by frame."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsedvr.data.clip import Clip, Frame, check_sizes, open_clip
from vsedvr.data.resize import imresize

__all__ = ["ClipPair", "open_pair", "to_frame", "to_tensor"]


@dataclass(frozen=True)
class ClipPair:
    """A clip in ground truth and low quality."""

    name: str
    gt: Clip
    lq: Clip | None
    """The clip in low quality; None if it is made from the ground truth."""
    scale: int
    """Factor by which the ground truth is larger than low quality."""
    num_frames: int

    def scene_starts(self, first: int, last: int) -> list[int]:
        """Returns the frames from first to last with which a scene begins, found in the frames that a model gets."""
        return (self.gt if self.lq is None else self.lq).scene_starts(first, last)

    def gt_frame(self, n: int) -> Frame:
        """Returns ground truth n, (h, w, 3), cropped at the bottom and right to multiples of the scale, as benchmarks do."""
        frame = self.gt[n]
        height, width = (side // self.scale * self.scale for side in frame.shape[:2])
        return frame[:height, :width]

    def lq_frame(self, n: int) -> Frame:
        """Returns low quality n, (h / scale, w / scale, 3).

        If there is none, it is made from the ground truth by MATLAB's bicubic reduction, rounded half up as MATLAB does.
        """
        return _reduce(self.gt_frame(n), self.scale) if self.lq is None else self.lq[n]

    @property
    def lq_size(self) -> tuple[int, int]:
        """(height, width) of low quality in pixels."""
        height, width = self.gt.size
        return (height // self.scale, width // self.scale) if self.lq is None else self.lq.size

    def check_sizes(self) -> None:
        """Checks the sizes of all frames, of pictures by their headers.

        Raises:
            ValueError: if a frame's size differs from the first one's; the message names clip and frame.
        """
        for clip in self._clips():
            try:
                check_sizes(clip, self.num_frames)
            except ValueError as error:
                raise ValueError(f"clip {self.name}: {error}") from error

    def close(self) -> None:
        """Closes files and frees memory; frames can still be read."""
        for clip in self._clips():
            clip.close()

    def _clips(self) -> list[Clip]:
        return [self.gt] if self.lq is None else [self.gt, self.lq]


class _SomeFrames:
    """A clip without the frames that its counterpart has lost."""

    def __init__(self, clip: Clip, numbers: Sequence[int]) -> None:
        self.clip = clip
        self.numbers = numbers
        """Numbers, in the whole clip, of the frames that are left, ascending."""
        self.lost = clip.lost
        self.size = clip.size

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, n: int) -> Frame:
        return self.clip[self.numbers[n]]

    def scene_starts(self, first: int, last: int) -> list[int]:
        before = self.numbers[first - 1] + 1 if first else 0
        starts = self.clip.scene_starts(before, self.numbers[last])
        return sorted({bisect_left(self.numbers, start) for start in starts})  # where its first frame is left out, the next one

    def close(self) -> None:
        self.clip.close()


def open_pair(
    name: str, paths: tuple[Path, Path | None], cache: Path | None, scale: int, max_frames: int | None = None
) -> ClipPair:
    """Opens both clips of a pair and checks that they belong together.

    A frame that one of them lost to damage is left out of the other, so that frames of the same time keep the same number.

    Args:
        name: name of the clip.
        paths: paths of ground truth and low quality; None is MATLAB's bicubic reduction of the ground truth, rounded to 8 bits.
        cache: folder for decoded videos, or None to decode them while they are used (see clip.open_clip).
        scale: factor by which the ground truth is larger.
        max_frames: maximum number of frames, from the beginning.

    Raises:
        FileNotFoundError: if a clip does not exist.
        ValueError: if their lengths or sizes do not belong together; the message has both.
    """
    gt_path, lq_path = paths
    gt = open_clip(gt_path, cache, max_frames)
    if lq_path is None:
        return ClipPair(name, gt, None, scale, min(len(gt), max_frames or len(gt)))
    lq = open_clip(lq_path, cache, max_frames)
    if gt.lost or lq.lost:
        gt, lq = _in_step(name, gt, lq, max_frames)
    num_frames = min(len(gt), max_frames or len(gt))
    if min(len(lq), max_frames or len(lq)) != num_frames:
        raise ValueError(f"clip {name}: {len(gt)} frames in {gt_path}, but {len(lq)} in {lq_path}")
    (gt_height, gt_width), (lq_height, lq_width) = gt.size, lq.size
    if (gt_width // scale, gt_height // scale) != (lq_width, lq_height):
        raise ValueError(
            f"clip {name}: low quality of {lq_width}x{lq_height} does not become ground truth of {gt_width}x{gt_height} "
            f"with a model that enlarges {scale} times"
        )
    return ClipPair(name, gt, lq, scale, num_frames)


def to_tensor(frame: Frame) -> Tensor:
    """Converts a frame (h, w, 3), uint8, to a tensor (3, h, w), float32 in [0, 1]."""
    return torch.from_numpy(np.array(frame)).permute(2, 0, 1).float() / 255


def to_frame(picture: Tensor) -> Frame:
    """Converts a tensor (3, h, w) in [0, 1] to a frame (h, w, 3), uint8, rounded half to even like the reference code."""
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _in_step(name: str, gt: Clip, lq: Clip, max_frames: int | None) -> tuple[Clip, Clip]:
    """Returns both clips without the frames that either of them has lost."""
    places = [len(clip) + len(clip.lost) for clip in (gt, lq)]
    if max_frames:  # frames after the end of the shorter clip are not needed
        places = [min(places)] * 2
    if places[0] != places[1]:
        raise ValueError(
            f"clip {name}: with the frames that are lost {places[0]} in ground truth, but {places[1]} in low quality"
        )
    left = set(range(places[0])) - {*gt.lost, *lq.lost}
    return _without(gt, left), _without(lq, left)


def _without(clip: Clip, left: set[int]) -> Clip:
    """Returns the frames of a clip that are in `left`, whose numbers count lost frames too."""
    lost = set(clip.lost)
    own = [place for place in range(len(clip) + len(lost)) if place not in lost]
    return _SomeFrames(clip, [number for number, place in enumerate(own) if place in left])


def _reduce(frame: Frame, scale: int) -> Frame:
    small = imresize(torch.from_numpy(np.array(frame)).permute(2, 0, 1).double(), scale)
    return (small + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
