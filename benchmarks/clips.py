"""Converts tensors to clips and back, for races between VapourSynth filters."""

from collections.abc import Callable

import numpy as np
import torch
import vapoursynth as vs

__all__ = ["clip_of", "one_by_one", "pixels", "play"]

core = vs.core


def clip_of(frames: torch.Tensor) -> vs.VideoNode:
    """Makes an RGBS clip of frames (num_frames, 3, height, width)."""
    blank = core.std.BlankClip(format=vs.RGBS, width=frames.shape[3], height=frames.shape[2], length=len(frames), keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(out[plane]), frames[n, plane].numpy())
        return out

    return blank.std.ModifyFrame(blank, fill)


def one_by_one(clip: vs.VideoNode) -> Callable[[], vs.VideoFrame]:
    """Returns a function that renders the next frame at each call, from frame 3 on.

    Frame 2 is rendered at once, so that features of earlier frames are cached, as in a clip that plays.
    """
    clip.get_frame(2)
    numbers = iter(range(3, clip.num_frames))
    return lambda: clip.get_frame(next(numbers))


def pixels(frame: vs.VideoFrame) -> torch.Tensor:
    """Returns the three planes of a frame as one tensor (3, height, width), in the type of its samples."""
    return torch.from_numpy(np.stack([np.asarray(frame[plane]) for plane in range(3)]))


def play(clip: vs.VideoNode) -> None:
    """Renders all frames in order, and keeps none."""
    for _ in clip.frames(prefetch=1, close=True, collect_garbage=False):
        pass
