"""Converts VapourSynth frames to arrays and tensors, and back."""

import numpy as np
import torch
import vapoursynth as vs
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["beyond", "enlarged", "same_picture", "to_frame", "to_tensor"]


def to_tensor(frame: vs.VideoFrame) -> Tensor:
    """Copies a frame to a float32 tensor: RGBS to (3, h, w), GRAYS to (1, h, w)."""
    return torch.from_numpy(np.stack(_planes(frame)))


def to_frame(planes: NDArray[np.generic], format: vs.VideoFormat) -> vs.VideoFrame:
    """Makes a frame of the given format from an array (planes, h, w). A single plane is copied to all planes of the frame."""
    frame = vs.core.create_video_frame(format, planes.shape[2], planes.shape[1])
    for k in range(format.num_planes):
        np.copyto(np.asarray(frame[k]), planes[min(k, len(planes) - 1)])
    return frame


def same_picture(a: vs.VideoFrame, b: vs.VideoFrame) -> bool:
    """Tells whether two float frames of the same format are equal bit for bit."""
    return all(_same_bits(x, y) for x, y in zip(_planes(a), _planes(b), strict=True))


def beyond(picture: Tensor, scale: int) -> Tensor | None:
    """Returns the part of a picture's values outside of [0, 1], enlarged to the size of the network's result.

    The network sees values clamped to [0, 1]. Legal YUV has colours outside: brighter than white, or more saturated than RGB
    allows. Adding this remainder to the network's result restores them.

    Args:
        picture: pixels (c, h, w).
        scale: factor by which the network enlarges width and height; the remainder is enlarged bicubically.

    Returns:
        Remainder (c, scale * h, scale * w), 0 for values within [0, 1] or not finite; None if it is 0 everywhere.
    """
    remainder = (picture - picture.clamp(0, 1)).nan_to_num_(0, 0, 0)
    return _enlarge(remainder, scale) if remainder.any() else None


def enlarged(plane: NDArray[np.generic], scale: int) -> NDArray[np.generic]:
    """Enlarges a plane (h, w) of any type bicubically, and clamps the result to the range of its samples."""
    picture = torch.from_numpy(plane.astype(np.float64))
    result = _enlarge(picture[None], scale)[0].clamp_(picture.min(), picture.max()).numpy()
    return (result if plane.dtype.kind == "f" else np.rint(result)).astype(plane.dtype)


def _planes(frame: vs.VideoFrame) -> list[NDArray[np.generic]]:
    return [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]


def _same_bits(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Compares planes bit for bit. The middle row comes first, because it is enough to tell most different pictures apart."""
    a, b = a.view(np.uint32), b.view(np.uint32)
    middle = len(a) // 2
    return np.array_equal(a[middle], b[middle]) and np.array_equal(a, b)


def _enlarge(picture: Tensor, scale: int) -> Tensor:
    return picture if scale == 1 else F.interpolate(picture[None], scale_factor=scale, mode="bicubic")[0]
