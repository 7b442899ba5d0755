"""Clips made of other clips' frames."""

from collections.abc import Sequence
from itertools import pairwise

import vapoursynth as vs

__all__ = ["hold_first", "pick"]


def pick(clip: vs.VideoNode, numbers: Sequence[int]) -> vs.VideoNode:
    """A clip of the frames with these numbers, from as few cuts as it takes."""
    breaks = [k + 1 for k, (a, b) in enumerate(pairwise(numbers)) if b != a + 1]
    runs = [clip[numbers[start] : numbers[end - 1] + 1] for start, end in pairwise([0, *breaks, len(numbers)])]
    return vs.core.std.Splice(runs) if len(runs) > 1 else runs[0]


def hold_first(clip: vs.VideoNode, first: vs.VideoFrame) -> vs.VideoNode:
    """The same clip without rendering frame 0, which building the filter had to do, once more."""
    blank = clip.std.BlankClip(length=1, keep=True)
    held = blank.std.ModifyFrame(blank, lambda n, f: first)
    return held + clip[1:] if clip.num_frames > 1 else held
