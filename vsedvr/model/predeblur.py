"""The PreDeblur module, a small U-net that cleans blurred or compressed input before the alignment (paper, section 3.1)."""

from torch import Tensor, nn

from vsedvr.model.blocks import SLOPE, ResidualBlock, make_conv
from vsedvr.ops import upsample

__all__ = ["PredeblurModule"]


class PredeblurModule(nn.Module):
    """Computes cleaned features of a frame: (b, num_in_ch, h, w) -> (b, num_feat, h, w), with hr_in at h / 4, w / 4."""

    def __init__(self, num_in_ch: int, num_feat: int, hr_in: bool) -> None:
        super().__init__()
        self.hr_in = hr_in
        self.conv_first = make_conv(num_in_ch, num_feat)
        if hr_in:
            self.stride_conv_hr1 = make_conv(num_feat, num_feat, stride=2)
            self.stride_conv_hr2 = make_conv(num_feat, num_feat, stride=2)
        self.stride_conv_l2 = make_conv(num_feat, num_feat, stride=2)
        self.stride_conv_l3 = make_conv(num_feat, num_feat, stride=2)
        self.resblock_l3 = ResidualBlock(num_feat)
        self.resblock_l2_1 = ResidualBlock(num_feat)
        self.resblock_l2_2 = ResidualBlock(num_feat)
        self.resblock_l1 = nn.ModuleList(ResidualBlock(num_feat) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        feat_l1 = self.conv_first(x, SLOPE)
        if self.hr_in:
            feat_l1 = self.stride_conv_hr1(feat_l1, slope=SLOPE)
            feat_l1 = self.stride_conv_hr2(feat_l1, slope=SLOPE)
        feat_l2 = self.stride_conv_l2(feat_l1, slope=SLOPE)
        feat_l3 = self.stride_conv_l3(feat_l2, slope=SLOPE)

        feat_l3 = upsample(self.resblock_l3(feat_l3))
        feat_l2 = upsample(self.resblock_l2_2(self.resblock_l2_1(feat_l2) + feat_l3))
        for block in self.resblock_l1[:2]:
            feat_l1 = block(feat_l1)
        feat_l1 = feat_l1 + feat_l2
        for block in self.resblock_l1[2:]:
            feat_l1 = block(feat_l1)
        return feat_l1
