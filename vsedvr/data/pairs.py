"""What is evaluated: clips in ground truth and in low quality, frame by frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsedvr.data.clip import Clip, Frame, find_clips, open_clip
from vsedvr.data.resize import imresize

__all__ = ["Pair", "PairPaths", "find_pairs", "open_pair", "to_frame", "to_tensor"]

PairPaths = dict[str, tuple[Path, Path | None]]
"""Ground truth and low quality by the clip's name; None: reduced from the ground truth."""


@dataclass(frozen=True)
class Pair:
    """One clip in both qualities."""

    name: str
    gt: Clip
    lq: Clip | None
    scale: int
    num_frames: int

    @property
    def scene_starts(self) -> list[int]:
        return (self.lq or self.gt).scene_starts

    def gt_frame(self, n: int) -> Frame:
        """(h, w, 3), cropped to multiples of the scale at the bottom and on the right, as the benchmarks were."""
        frame = self.gt[n]
        height, width = (side // self.scale * self.scale for side in frame.shape[:2])
        return frame[:height, :width]

    def lq_frame(self, n: int) -> Frame:
        """(h / scale, w / scale, 3)."""
        return self.lq[n] if self.lq else _reduce(self.gt_frame(n), self.scale)


def find_pairs(gt: Path, lq: Path | None) -> PairPaths:
    """All clips below a folder, or a single clip, with what belongs to each of the same name below another.

    Raises:
        FileNotFoundError, ValueError: if there is no clip, or one has no counterpart; the message names them.
    """
    gt_clips = _named(gt)
    if lq is None:
        return {name: (path, None) for name, path in gt_clips.items()}
    lq_clips = _named(lq)
    if gt in gt_clips.values() and lq in lq_clips.values():
        return {next(iter(gt_clips)): (gt, lq)}  # one clip each, whatever their names
    alone = sorted(gt_clips.keys() ^ lq_clips.keys())
    if alone:
        lacking, holding = (lq, gt) if alone[0] in gt_clips else (gt, lq)
        raise ValueError(f"clips pair by their names: {alone[0]!r} is in {holding} but not in {lacking}")
    return {name: (path, lq_clips[name]) for name, path in gt_clips.items()}


def open_pair(name: str, paths: tuple[Path, Path | None], cache: Path, scale: int, max_frames: int | None = None) -> Pair:
    """Opens both clips and checks that they belong together.

    Args:
        name: of the clip.
        paths: ground truth and low quality; None is MATLAB's bicubic reduction of the ground truth, rounded to 8 bits.
        cache: folder for decoded videos (see clip.open_clip).
        scale: how many times larger the ground truth is.
        max_frames: how many frames to take, from the beginning.

    Raises:
        ValueError: if their lengths or sizes do not belong together; the message has both.
    """
    gt_path, lq_path = paths
    gt = open_clip(gt_path, cache, max_frames)
    num_frames = min(len(gt), max_frames or len(gt))
    if lq_path is None:
        return Pair(name, gt, None, scale, num_frames)
    lq = open_clip(lq_path, cache, max_frames)
    if min(len(lq), max_frames or len(lq)) != num_frames:
        raise ValueError(f"clip {name}: {len(gt)} frames in {gt_path}, but {len(lq)} in {lq_path}")
    (gt_height, gt_width), (lq_height, lq_width) = gt.size, lq.size
    if (gt_width // scale, gt_height // scale) != (lq_width, lq_height):
        raise ValueError(
            f"clip {name}: low quality of {lq_width}x{lq_height} does not become ground truth of {gt_width}x{gt_height} "
            f"with a model that enlarges {scale} times"
        )
    return Pair(name, gt, lq, scale, num_frames)


def to_tensor(frame: Frame) -> Tensor:
    """(h, w, 3) -> (3, h, w) in [0, 1], float32."""
    return torch.from_numpy(np.array(frame)).permute(2, 0, 1).float() / 255


def to_frame(picture: Tensor) -> Frame:
    """(3, h, w) in [0, 1] -> (h, w, 3), rounded; half to even, as the reference implementations round."""
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _reduce(frame: Frame, scale: int) -> Frame:
    """Rounded half up, as MATLAB rounds."""
    small = imresize(torch.from_numpy(np.array(frame)).permute(2, 0, 1).double(), scale)
    return (small + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def _named(root: Path) -> dict[str, Path]:
    """Videos pair by their names without the kind of file."""
    clips: dict[str, Path] = {}
    for name, path in find_clips(root).items():
        stem = name.removesuffix(path.suffix) if path.is_file() else name
        if stem in clips:
            raise ValueError(f"{clips[stem]} and {path} have the same name; clips pair by their names")
        clips[stem] = path
    return clips
