"""Fusion with temporal and spatial attention (TSA; paper, section 3.3 and figure 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.model.blocks import SLOPE, make_conv, upsample
from vsedvr.ops import empty_picture

__all__ = ["TSAFusion"]


class TSAFusion(nn.Module):
    """Weights each aligned frame by its similarity to the centre frame, fuses them, and modulates every position."""

    def __init__(self, num_feat: int, num_frame: int, center_frame_idx: int) -> None:
        super().__init__()
        self.center_frame_idx = center_frame_idx
        self.temporal_attn1 = make_conv(num_feat, num_feat)  # this embeds the centre frame
        self.temporal_attn2 = make_conv(num_feat, num_feat)  # this embeds every frame
        self.feat_fusion = make_conv(num_frame * num_feat, num_feat, 1)

        self.spatial_attn1 = make_conv(num_frame * num_feat, num_feat, 1)
        self.spatial_attn2 = make_conv(2 * num_feat, num_feat, 1)
        self.spatial_attn3 = make_conv(num_feat, num_feat)
        self.spatial_attn4 = make_conv(num_feat, num_feat, 1)
        self.spatial_attn5 = make_conv(num_feat, num_feat)
        self.spatial_attn_l1 = make_conv(num_feat, num_feat, 1)
        self.spatial_attn_l2 = make_conv(2 * num_feat, num_feat)
        self.spatial_attn_l3 = make_conv(num_feat, num_feat)
        self.spatial_attn_add1 = make_conv(num_feat, num_feat, 1)
        self.spatial_attn_add2 = make_conv(num_feat, num_feat, 1)

    def forward(self, aligned: Sequence[Tensor]) -> Tensor:
        """Fuses num_frame aligned frames, each (b, c, h, w), into (b, c, h, w); h and w are multiples of 4."""
        weighted = self.temporal_attention(aligned)
        feat = self.feat_fusion(weighted, slope=SLOPE)
        attn = self.spatial_attention(weighted)
        attn_add = self.spatial_attn_add2(self.spatial_attn_add1(attn, slope=SLOPE))
        return feat * attn.sigmoid() * 2 + attn_add  # with the factor 2, logits of 0 leave the features unchanged

    def temporal_attention(self, aligned: Sequence[Tensor]) -> Tensor:
        """Multiplies each frame by sigmoid(<its embedding, the centre's>) per position: (b, num_frame * c, h, w)."""
        embedding_ref = self.temporal_attn1(aligned[self.center_frame_idx])
        weights = [(self.temporal_attn2(feat) * embedding_ref).sum(1, keepdim=True).sigmoid_() for feat in aligned]
        if torch.is_grad_enabled() or embedding_ref.device.type != "cpu":
            return torch.cat([feat * weight for feat, weight in zip(aligned, weights, strict=True)], 1)
        b, c, h, w = embedding_ref.shape
        weighted = empty_picture((b, len(aligned) * c, h, w), embedding_ref.dtype)  # avoids a second copy of all frames
        for feat, weight, out in zip(aligned, weights, weighted.chunk(len(aligned), 1), strict=True):
            torch.mul(feat, weight, out=out)
        return weighted

    def spatial_attention(self, weighted: Tensor) -> Tensor:
        """Computes the logits of the spatial attention, (b, c, h, w), with a pyramid that halves the size twice."""
        attn = _halve(self.spatial_attn1(weighted, slope=SLOPE))
        attn = self.spatial_attn2(attn, slope=SLOPE)
        level = self.spatial_attn_l1(attn, slope=SLOPE)
        level = self.spatial_attn_l2(_halve(level), SLOPE)
        level = upsample(self.spatial_attn_l3(level, SLOPE))
        attn = self.spatial_attn3(attn, SLOPE) + level
        attn = upsample(self.spatial_attn4(attn, slope=SLOPE))
        return self.spatial_attn5(attn)


def _halve(x: Tensor) -> Tensor:
    """Takes maximum and mean of 3x3 areas at every second position: (b, c, h, w) -> (b, 2 * c, h / 2, w / 2)."""
    return torch.cat([F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)], 1)
