"""The building blocks of EDVR. Attributes have BasicSR's names, because these become the keys of the state dict."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.ops import conv3x3, dcn

__all__ = ["SLOPE", "Conv3x3", "DCNPack", "ResidualBlock", "lrelu", "make_conv", "upsample"]

SLOPE = 0.1
"""Negative slope of every LeakyReLU in EDVR."""


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution layer with stride 1 and padding 1 that calls vsedvr.ops.conv3x3, which is faster on CPUs."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3(x, self.weight, self.bias)


def make_conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution layer in float32 with padding kernel_size // 2, which keeps the size if stride is 1 and else divides it."""
    if kernel_size == 3 and stride == 1:
        return Conv3x3(in_channels, out_channels)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, dtype=torch.float32)


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with EDVR's slope, in place."""
    return F.leaky_relu(x, SLOPE, inplace=True)


def upsample(x: Tensor, scale: int = 2) -> Tensor:
    """Enlarges with bilinear interpolation: (b, c, h, w) -> (b, c, scale * h, scale * w)."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))) without normalisation. The ReLU is a plain one here, not a leaky one."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = make_conv(num_feat, num_feat)
        self.conv2 = make_conv(num_feat, num_feat)
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
        self.weight = nn.Parameter(torch.empty(num_feat, num_feat, 3, 3, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(num_feat, dtype=torch.float32))
        nn.init.uniform_(self.weight, -1 / math.sqrt(9 * num_feat), 1 / math.sqrt(9 * num_feat))
        self.conv_offset = make_conv(num_feat, 3 * deformable_groups * 9)
        nn.init.zeros_(self.conv_offset.weight)  # starts as a plain convolution at half strength
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Samples x (b, c, h, w) at the offsets that it predicts from offset_feat (b, c, h, w): (b, c, h, w)."""
        # Offsets of 8 pixels have steps of 1/16 pixel in bfloat16, so the engine and autocast leave this layer in float32.
        with torch.autocast(x.device.type, enabled=False):
            conv_offset_output = self.conv_offset(offset_feat.to(self.conv_offset.weight.dtype))
        return dcn(x, conv_offset_output, self.weight, self.bias, self.slope)
