"""Clips in two qualities, frame by frame: what a model is given, and what it should make of it."""

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
    """One clip in ground truth and low quality."""

    name: str
    gt: Clip
    lq: Clip | None
    """The same in low quality; None where it is made from the ground truth."""
    scale: int
    """How many times larger the ground truth is."""
    num_frames: int

    def scene_starts(self, first: int, last: int) -> list[int]:
        """The frames from first to last that a scene begins with, found in what a model is given."""
        return (self.gt if self.lq is None else self.lq).scene_starts(first, last)

    def gt_frame(self, n: int) -> Frame:
        """Ground truth n, (h, w, 3), cropped to multiples of the scale at the bottom and right, as the benchmarks were."""
        frame = self.gt[n]
        height, width = (side // self.scale * self.scale for side in frame.shape[:2])
        return frame[:height, :width]

    def lq_frame(self, n: int) -> Frame:
        """Low quality n, (h / scale, w / scale, 3), which may have to be made from the ground truth.

        It is made by MATLAB's bicubic reduction, and rounded half up as MATLAB rounds.
        """
        return _reduce(self.gt_frame(n), self.scale) if self.lq is None else self.lq[n]

    @property
    def lq_size(self) -> tuple[int, int]:
        """(height, width) of low quality."""
        height, width = self.gt.size
        return (height // self.scale, width // self.scale) if self.lq is None else self.lq.size

    def check_sizes(self) -> None:
        """Looks at the sizes of all frames, by the headers of pictures.

        Raises:
            ValueError: if a frame's size differs from the first one's; the message names clip and frame.
        """
        for clip in self._clips():
            try:
                check_sizes(clip, self.num_frames)
            except ValueError as error:
                raise ValueError(f"clip {self.name}: {error}") from error

    def close(self) -> None:
        """Lets go of files and memory; frames can still be asked for."""
        for clip in self._clips():
            clip.close()

    def _clips(self) -> list[Clip]:
        return [self.gt] if self.lq is None else [self.gt, self.lq]


class _SomeFrames:
    """A clip without the frames that its counterpart has lost."""

    def __init__(self, clip: Clip, numbers: Sequence[int]) -> None:
        self.clip = clip
        self.numbers = numbers
        """Numbers in the clip of the frames that are left, ascending."""
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
    """Opens both clips and checks that they belong together.

    A frame that one of them lost to damage is left out of the other, so that frames of one time stay together.

    Args:
        name: of the clip.
        paths: ground truth and low quality; None is MATLAB's bicubic reduction of the ground truth, rounded to 8 bits.
        cache: folder for decoded videos, or None to decode them while they are used (see clip.open_clip).
        scale: how many times larger the ground truth is.
        max_frames: how many frames to take, from the beginning.

    Raises:
        FileNotFoundError: if a clip is not there.
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
    """A frame (h, w, 3) as a tensor (3, h, w) in [0, 1], float32."""
    return torch.from_numpy(np.array(frame)).permute(2, 0, 1).float() / 255


def to_frame(picture: Tensor) -> Frame:
    """A tensor (3, h, w) in [0, 1] as a frame (h, w, 3), rounded half to even, as the reference implementations round."""
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _in_step(name: str, gt: Clip, lq: Clip, max_frames: int | None) -> tuple[Clip, Clip]:
    """Both clips without the frames that either lost."""
    places = [len(clip) + len(clip.lost) for clip in (gt, lq)]
    if max_frames:  # what comes after the last frame of the shorter one is of no use
        places = [min(places)] * 2
    if places[0] != places[1]:
        raise ValueError(
            f"clip {name}: with the frames that are lost {places[0]} in ground truth, but {places[1]} in low quality"
        )
    left = set(range(places[0])) - {*gt.lost, *lq.lost}
    return _without(gt, left), _without(lq, left)


def _without(clip: Clip, left: set[int]) -> Clip:
    """A clip's frames at the places that are left, which are counted as if no frame were lost."""
    lost = set(clip.lost)
    own = [place for place in range(len(clip) + len(lost)) if place not in lost]
    return _SomeFrames(clip, [number for number, place in enumerate(own) if place in left])


def _reduce(frame: Frame, scale: int) -> Frame:
    small = imresize(torch.from_numpy(np.array(frame)).permute(2, 0, 1).double(), scale)
    return (small + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
