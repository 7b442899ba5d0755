"""Converts VapourSynth frames to arrays and tensors, and back."""

from collections.abc import Callable

import numpy as np
import torch
import vapoursynth as vs
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["enlarged", "fill", "reaches_beyond", "same_picture", "to_frame", "to_tensor", "writable_planes"]

Memory = Callable[[tuple[int, ...]], Tensor]
"""Function that returns a float32 tensor of a given shape on the CPU, without values."""


def to_tensor(frame: vs.VideoFrame, memory: Memory = torch.empty) -> Tensor:
    """Copies a frame to a float32 tensor: RGBS to (3, h, w), GRAYS to (1, h, w).

    Args:
        frame: the frame.
        memory: returns a tensor of a given shape that the frame is copied to, such as one in page-locked memory.
    """
    planes = _planes(frame)
    picture = memory((len(planes), *planes[0].shape))
    for copy, plane in zip(picture.numpy(), planes, strict=True):
        np.copyto(copy, plane)
    return picture


def to_frame(planes: NDArray[np.generic], format: vs.VideoFormat) -> vs.VideoFrame:
    """Makes a frame of the given format from an array (planes, h, w). A single plane is copied to all planes of the frame."""
    frame = vs.core.create_video_frame(format, planes.shape[2], planes.shape[1])
    for k in range(format.num_planes):
        np.copyto(np.asarray(frame[k]), planes[min(k, len(planes) - 1)])
    return frame


def writable_planes(frame: vs.VideoFrame) -> list[Tensor]:
    """Returns the planes (h, w) of a new frame as tensors that share the frame's memory."""
    return [torch.from_numpy(plane) for plane in _planes(frame)]


def fill(planes: list[Tensor], picture: Tensor) -> None:
    """Copies a picture (c, h, w) to planes (h, w), and converts it to their data type. One channel is copied to all planes."""
    for k, plane in enumerate(planes):
        plane.copy_(picture[min(k, len(picture) - 1)])


def same_picture(a: vs.VideoFrame, b: vs.VideoFrame) -> bool:
    """Tells whether two float frames of the same format are equal bit for bit."""
    return all(_same_bits(x, y) for x, y in zip(_planes(a), _planes(b), strict=True))


def reaches_beyond(frame: vs.VideoFrame) -> bool:
    """Tells whether a float frame has values outside of [0, 1]. Frames with NaN count as such."""
    planes = [plane.view(np.float32) for plane in _planes(frame)]
    return not all(plane.min() >= 0 and plane.max() <= 1 for plane in planes)


def enlarged(plane: NDArray[np.generic], scale: int) -> NDArray[np.generic]:
    """Enlarges a plane (h, w) of any type bicubically, and clamps the result to the range of its samples."""
    picture = torch.from_numpy(plane.astype(np.float64))
    large = F.interpolate(picture[None, None], scale_factor=scale, mode="bicubic")[0, 0]
    result = large.clamp_(picture.min(), picture.max()).numpy()
    return (result if plane.dtype.kind == "f" else np.rint(result)).astype(plane.dtype)


def _planes(frame: vs.VideoFrame) -> list[NDArray[np.generic]]:
    return [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]


def _same_bits(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Compares planes bit for bit. The middle row comes first, because it is enough to tell most different pictures apart."""
    a, b = a.view(np.uint32), b.view(np.uint32)
    middle = len(a) // 2
    return np.array_equal(a[middle], b[middle]) and np.array_equal(a, b)
