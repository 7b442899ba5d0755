"""Bilinear enlargement of feature maps, on a CPU in float32 and without gradients by a kernel (kernels/upsample.cpp)."""

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import native
from vsedvr.ops.arena import empty_picture

__all__ = ["upsample"]


def upsample(x: Tensor, scale: int = 2) -> Tensor:
    """Enlarges feature maps or pictures with bilinear interpolation: (b, c, h, w) -> (b, c, scale * h, scale * w).

    It is F.interpolate(x, scale_factor=scale, mode="bilinear"), within rounding. The result does not depend on the number of
    threads.
    """
    b, c, h, w = x.shape
    if not native.serves(x):
        if c < 4 and x.device.type == "cpu":  # here PyTorch rounds differently with one thread and with several
            x = F.pad(x, (0, 0, 0, 0, 0, 4 - c))
        return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[:, :c]
    x = x.contiguous(memory_format=native.PICTURE)
    out = empty_picture((b, c, scale * h, scale * w), x.dtype)
    shape = (ctypes.c_int64 * 5)(b, h, w, c, scale)
    address = native.address("x", x, (b, c, h, w), torch.float32, native.PICTURE)
    native.call(native.UPSAMPLE, ctypes.addressof(shape), address, out.data_ptr(), *native.settings(None))
    return out
