"""The blocks that every part of EDVR is built from. Attribute names are BasicSR's: they are the state dict's keys."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.ops import conv3x3 as conv3x3_op
from vsedvr.ops import dcn

__all__ = ["SLOPE", "Conv3x3", "DCNPack", "ResidualBlock", "conv3x3", "lrelu", "upsample"]

SLOPE = 0.1
"""Negative slope of every LeakyReLU in EDVR."""


class Conv3x3(nn.Conv2d):
    """nn.Conv2d of stride 1 and padding 1, by the operator that is faster on CPUs."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3_op(x, self.weight, self.bias)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return Conv3x3(in_channels, out_channels) if stride == 1 else nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)


def upsample(x: Tensor, scale: int = 2) -> Tensor:
    """Bilinear, as everywhere in EDVR: (b, c, h, w) -> (b, c, scale * h, scale * w)."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), without normalisation; a plain ReLU, not a leaky one."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_feat, num_feat)
        self.conv2 = conv3x3(num_feat, num_feat)
        for conv in (self.conv1, self.conv2):  # small residuals keep 40 blocks stable at the start of training
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class DCNPack(nn.Module):
    """A modulated deformable convolution whose offsets and masks are predicted from other features (paper, eq. 2)."""

    def __init__(self, num_feat: int, deformable_groups: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.empty(num_feat, num_feat, 3, 3))
        self.bias = nn.Parameter(torch.zeros(num_feat))
        nn.init.uniform_(self.weight, -1 / math.sqrt(9 * num_feat), 1 / math.sqrt(9 * num_feat))
        self.conv_offset = conv3x3(num_feat, 3 * deformable_groups * 9)
        nn.init.zeros_(self.conv_offset.weight)  # starts as a plain convolution at half strength
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """x (b, c, h, w) is sampled where offset_feat (b, c, h, w) says."""
        # In bf16 an offset of 8 pixels has steps of 1/16: the engine and autocast leave this convolution in fp32.
        with torch.autocast(x.device.type, enabled=False):
            conv_offset_output = self.conv_offset(offset_feat.to(self.conv_offset.weight.dtype))
        return dcn(x, conv_offset_output, self.weight, self.bias, self.slope)
