"""Operators on tensors: the deformable convolution."""

from vsedvr.ops.dcn import dcn
from vsedvr.ops.deform_conv import deform_conv2d

__all__ = ["dcn", "deform_conv2d"]
