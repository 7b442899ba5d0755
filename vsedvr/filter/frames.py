"""Frames of VapourSynth as tensors, and back."""

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

__all__ = ["to_frame", "to_tensor"]


def to_tensor(frame: vs.VideoFrame) -> Tensor:
    """RGBS or GRAYS -> (3, h, w) in [0, 1]."""
    planes = np.stack([np.asarray(frame[plane]) for plane in range(frame.format.num_planes)])
    return torch.from_numpy(planes).clamp_(0, 1).expand(3, -1, -1)


def to_frame(rgb: Tensor, format: vs.VideoFormat) -> vs.VideoFrame:
    """(3, h, w) -> RGBS, or GRAYS as the mean of the three."""
    planes = rgb if format.num_planes == 3 else rgb.mean(0, keepdim=True)
    frame = vs.core.create_video_frame(format, rgb.shape[2], rgb.shape[1])
    for k, plane in enumerate(planes.numpy()):
        np.copyto(np.asarray(frame[k]), plane)
    return frame
