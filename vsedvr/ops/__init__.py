"""Operators on tensors: the deformable convolution."""

from vsedvr.ops.deform_conv import dcn, deform_conv2d

__all__ = ["dcn", "deform_conv2d"]
