"""The building blocks of EDVR. Their attributes have BasicSR's names, which become the keys of the state dict."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.ops import (
    PackedConv,
    PackedConv3x3,
    bias_act,
    conv3x3,
    dcn,
    pack_conv,
    pack_conv3x3,
    runs_bias_act,
    upsample,
)

__all__ = ["SLOPE", "Conv", "Conv3x3", "DCNPack", "ResidualBlock", "lrelu", "make_conv"]

SLOPE = 0.1
"""Negative slope of every LeakyReLU in EDVR."""


class Conv(nn.Conv2d):
    """A convolution with padding kernel_size // 2, and the LeakyReLU behind it.

    Once it is packed, and without gradients, they are one pass on a CPU, and on a GPU all that follows the convolution is one
    kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2, dtype=torch.float32)
        self.fused = False
        self.packed: PackedConv | None = None

    def pack(self) -> None:
        """Prepares calls without gradients: packs the weights for a CPU, which must not be changed afterwards."""
        self.fused = True
        self.packed = pack_conv(self.weight, self.bias, self.stride[0])

    def forward(self, *inputs: Tensor, slope: float = 1) -> Tensor:
        """Computes leaky_relu(conv(cat(inputs, 1)), slope) of inputs with one shape, (b, c, h, w); slope 1 leaves it out."""
        if self.packed is not None and self.packed.serves(inputs[0]):
            return self.packed(*inputs, slope=slope)
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
        if self.fused and runs_bias_act(x):
            return bias_act(F.conv2d(x, self.weight, None, self.stride, self.padding), self.bias, slope)
        out = super().forward(x)
        return out if slope == 1 else F.leaky_relu(out, slope, inplace=True)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with stride 1 and padding 1, and the operations around it in EDVR.

    Once it is packed, and without gradients, they are one pass together on a CPU, and on a GPU all that follows the
    convolution is one kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, shuffle: bool = False) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, dtype=torch.float32)
        self.shuffle = shuffle
        self.fused = False
        self.packed: PackedConv3x3 | None = None
        self.packed_few: PackedConv | None = None

    def pack(self) -> None:
        """Prepares calls without gradients: packs the weights for a CPU, which must not be changed afterwards."""
        self.fused = True
        self.packed = pack_conv3x3(self.weight, self.bias, self.shuffle)
        if self.packed is None and not self.shuffle:  # of few input channels
            self.packed_few = pack_conv(self.weight, self.bias)

    def forward(
        self,
        x: Tensor,
        slope: float = 1,
        add: Tensor | None = None,
        x2: Tensor | None = None,
        rows: tuple[int, int] | None = None,
        enlarge: float = 0,
    ) -> Tensor:
        """Computes leaky_relu(pixel_shuffle(conv(cat([x, x2], 1)), 2) + add, slope); pixel_shuffle only with `shuffle`.

        Args:
            x: the input, (b, c, h, w).
            slope: negative slope of the LeakyReLU; 0 gives a ReLU, 1 leaves it out.
            add: a tensor with the output's shape that is added, or None.
            x2: (b, c2, h, w), further channels of the input after those of x, or None.
            rows: (first, number) of the convolution's rows to compute; all rows by default.
            enlarge: if it is not 0, x2 has half the height and width; it is enlarged by `upsample` and multiplied by this.
        """
        if self.packed is not None and self.packed.serves(x):
            return self.packed(x, slope, add, x2, rows, enlarge)
        if self.packed_few is not None and self.packed_few.serves(x) and (add, x2, rows) == (None, None, None):
            return self.packed_few(x, slope=slope)
        if x2 is not None and enlarge:
            x2 = upsample(x2 if enlarge == 1 else x2 * enlarge)
        x = x if x2 is None else torch.cat([x, x2], 1)
        if self.fused and runs_bias_act(x):
            return bias_act(self._convolve(x, None, rows), self.bias, slope, add, self.shuffle)
        out = self._convolve(x, self.bias, rows)
        if self.shuffle:
            out = F.pixel_shuffle(out, 2)
        if add is not None:
            out = out + add
        if slope == 0:
            return F.relu(out, inplace=True)
        return out if slope == 1 else F.leaky_relu(out, slope, inplace=True)

    def _convolve(self, x: Tensor, bias: Tensor | None, rows: tuple[int, int] | None) -> Tensor:
        if rows is None:
            return conv3x3(x, self.weight, bias)
        first, number = rows
        above = min(first, 1)  # the convolution reads one more row on either side, if there is one
        around = x[:, :, first - above : first + number + 1]
        return conv3x3(around, self.weight, bias)[:, :, above : above + number]


def make_conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Makes a convolution layer in float32 with padding kernel_size // 2, so that the size is divided by the stride only."""
    if kernel_size == 3 and stride == 1:
        return Conv3x3(in_channels, out_channels)
    return Conv(in_channels, out_channels, kernel_size, stride)


def lrelu(x: Tensor) -> Tensor:
    """Applies a LeakyReLU with EDVR's slope, in place."""
    return F.leaky_relu(x, SLOPE, inplace=True)


class ResidualBlock(nn.Module):
    """Residual block x + conv(ReLU(conv(x))) without normalisation. Its ReLU is a plain one, not a leaky one."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = make_conv(num_feat, num_feat)
        self.conv2 = make_conv(num_feat, num_feat)
        for conv in (self.conv1, self.conv2):  # small residuals keep a stack of 40 blocks stable at the start of training
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x, slope=0), add=x)


class DCNPack(nn.Module):
    """A modulated deformable convolution whose offsets and masks are predicted from other features (paper, eq. 2)."""

    def __init__(self, num_feat: int, deformable_groups: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.empty(num_feat, num_feat, 3, 3, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(num_feat, dtype=torch.float32))
        nn.init.uniform_(self.weight, -1 / math.sqrt(9 * num_feat), 1 / math.sqrt(9 * num_feat))
        self.conv_offset = Conv3x3(num_feat, 3 * deformable_groups * 9)
        nn.init.zeros_(self.conv_offset.weight)  # so the layer starts as a plain convolution at half strength
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Convolves x (b, c, h, w) with offsets and masks predicted from offset_feat (b, c, h, w); returns (b, c, h, w)."""
        # In bfloat16 an offset of 8 pixels could change only in steps of 1/16 pixel, so conv_offset stays in float32.
        offset_feat, bias = offset_feat.to(self.conv_offset.weight.dtype), None
        with torch.autocast(x.device.type, enabled=False):
            if self.conv_offset.fused and runs_bias_act(x):
                conv_offset_output, bias = conv3x3(offset_feat, self.conv_offset.weight), self.conv_offset.bias
            else:
                conv_offset_output = self.conv_offset(offset_feat)
        return dcn(x, conv_offset_output, self.weight, self.bias, self.slope, bias)
