"""Clips made of tensors, and their frames as tensors."""

from typing import Any

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

from conftest import TINY, random_model
from vsedvr.model import EDVR, EDVRConfig

core = vs.core


def clip_of(frames: Tensor, format: vs.PresetVideoFormat = vs.RGBS, **props: Any) -> vs.VideoNode:
    """A clip of (num_frames, planes, h, w), in the samples of the format; all planes of one size."""
    blank = core.std.BlankClip(
        format=format, width=frames.shape[3], height=frames.shape[2], length=len(frames), fpsnum=24000, fpsden=1001
    )

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(out.format.num_planes):
            np.copyto(np.asarray(out[plane]), frames[n, plane].numpy(), casting="unsafe")
        return out

    return blank.std.ModifyFrame(blank, fill).std.SetFrameProps(**props)


def rgb24_clip(frames: list[np.ndarray]) -> vs.VideoNode:
    """An RGB24 clip of pictures (h, w, 3)."""
    return clip_of(torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()), vs.RGB24)


def pixels(frame: vs.VideoFrame) -> Tensor:
    """Planes of one size as (planes, h, w) in float64."""
    return torch.from_numpy(np.stack([np.asarray(frame[p]).astype(np.float64) for p in range(frame.format.num_planes)]))


def luma_of(frame: vs.VideoFrame) -> Tensor:
    return torch.from_numpy(np.asarray(frame[0]).astype(np.float64))


def blank(**arguments: Any) -> vs.VideoNode:
    return core.std.BlankClip(**{"format": vs.RGBS, "width": 16, "height": 16, "length": 3, **arguments})


def number_and_duration(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
    out = f.copy()
    out.props["number"], out.props["_DurationNum"], out.props["_DurationDen"] = n, 41 + n, 1000
    return out


def identity_model(config: EDVRConfig = TINY) -> EDVR:
    """A network that gives back the centre frame; enlarged, where it enlarges."""
    model = random_model(config)
    torch.nn.init.zeros_(model.conv_last.weight)
    torch.nn.init.zeros_(model.conv_last.bias)  # type: ignore[arg-type]
    return model
