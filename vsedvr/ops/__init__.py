"""Operators on tensors: the deformable convolution, and the 3x3 convolution, which takes most of the network's time."""

from vsedvr.ops.arena import Arena, add, empty_picture
from vsedvr.ops.bias_act import bias_act, runs_bias_act
from vsedvr.ops.conv3x3 import conv3x3
from vsedvr.ops.cuda import prepare
from vsedvr.ops.dcn import dcn
from vsedvr.ops.deform_conv import deform_conv2d
from vsedvr.ops.direct import PackedConv, pack_conv, similarity
from vsedvr.ops.packed import PackedConv3x3, pack_conv3x3
from vsedvr.ops.upsample import upsample

__all__ = [
    "Arena",
    "PackedConv",
    "PackedConv3x3",
    "add",
    "bias_act",
    "conv3x3",
    "dcn",
    "deform_conv2d",
    "empty_picture",
    "pack_conv",
    "pack_conv3x3",
    "prepare",
    "runs_bias_act",
    "similarity",
    "upsample",
]
