"""Operators on tensors: the deformable convolution, and the 3x3 convolution, which takes most of the network's time."""

from vsedvr.ops.conv3x3 import conv3x3
from vsedvr.ops.cuda import prepare
from vsedvr.ops.dcn import dcn
from vsedvr.ops.deform_conv import deform_conv2d

__all__ = ["conv3x3", "dcn", "deform_conv2d", "prepare"]
