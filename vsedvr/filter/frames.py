"""Frames of VapourSynth as arrays and tensors, and back."""

import numpy as np
import torch
import vapoursynth as vs
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["beyond", "enlarged", "same_picture", "to_frame", "to_tensor"]


def to_tensor(frame: vs.VideoFrame) -> Tensor:
    """RGBS or GRAYS -> (3, h, w) or (1, h, w), a copy."""
    return torch.from_numpy(np.stack(_planes(frame)))


def to_frame(planes: NDArray[np.generic], format: vs.VideoFormat) -> vs.VideoFrame:
    """(planes, h, w) -> a frame of the format, where a single plane stands for all."""
    frame = vs.core.create_video_frame(format, planes.shape[2], planes.shape[1])
    for k in range(format.num_planes):
        np.copyto(np.asarray(frame[k]), planes[min(k, len(planes) - 1)])
    return frame


def same_picture(a: vs.VideoFrame, b: vs.VideoFrame) -> bool:
    """Whether two float frames of one format are equal bit for bit."""
    return all(_same_bits(x, y) for x, y in zip(_planes(a), _planes(b), strict=True))


def beyond(picture: Tensor, scale: int) -> Tensor | None:
    """What a picture has outside of [0, 1], where the network does not see it, in the size of the network's result.

    Legal YUV has such colours: brighter than white, or more saturated than RGB allows.

    Args:
        picture: (c, h, w).
        scale: of the network; the picture is enlarged as often, bicubically.

    Returns:
        (c, scale * h, scale * w); None where all is within [0, 1]. Numbers that are not finite have nothing beyond.
    """
    remainder = (picture - picture.clamp(0, 1)).nan_to_num_(0, 0, 0)
    return _enlarge(remainder, scale) if remainder.any() else None


def enlarged(plane: NDArray[np.generic], scale: int) -> NDArray[np.generic]:
    """A plane of any type, enlarged bicubically, within the range that its samples had."""
    picture = torch.from_numpy(plane.astype(np.float64))
    result = _enlarge(picture[None], scale)[0].clamp_(picture.min(), picture.max()).numpy()
    return (result if plane.dtype.kind == "f" else np.rint(result)).astype(plane.dtype)


def _planes(frame: vs.VideoFrame) -> list[NDArray[np.generic]]:
    return [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]


def _same_bits(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Pictures that differ mostly do so in the middle row, so few are compared as a whole."""
    a, b = a.view(np.uint32), b.view(np.uint32)
    middle = len(a) // 2
    return np.array_equal(a[middle], b[middle]) and np.array_equal(a, b)


def _enlarge(picture: Tensor, scale: int) -> Tensor:
    return picture if scale == 1 else F.interpolate(picture[None], scale_factor=scale, mode="bicubic")[0]
