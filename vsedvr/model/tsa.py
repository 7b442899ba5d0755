"""Fusion with temporal and spatial attention (TSA; paper, section 3.3 and figure 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.model.blocks import SLOPE, make_conv
from vsedvr.ops import PackedConv, pack_conv, similarity, upsample

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

        self.packed_fusion: PackedConv | None = None
        self.packed_last: PackedConv | None = None

    def pack(self) -> None:
        """Packs the two convolutions of all frames as one, and the last one, for calls on a CPU without gradients."""
        weights, biases = zip(*((conv.weight, conv.bias) for conv in (self.feat_fusion, self.spatial_attn1)), strict=True)
        self.packed_fusion = pack_conv(torch.cat(weights), torch.cat(biases))
        self.packed_last = pack_conv(self.spatial_attn_add2.weight, self.spatial_attn_add2.bias)

    def forward(self, *aligned: Tensor) -> Tensor:
        """Fuses num_frame aligned frames, each (b, c, h, w), into (b, c, h, w); h and w are multiples of 4."""
        feat, attn = self.fuse(aligned)
        attn = self.spatial_attention(attn)
        added = self.spatial_attn_add1(attn, slope=SLOPE)
        # With the factor 2, logits of 0 leave the features unchanged
        if self.packed_last is not None and self.packed_last.serves(attn):
            return self.packed_last(added, modulate=(feat, attn))
        return feat * attn.sigmoid() * 2 + self.spatial_attn_add2(added)

    def fuse(self, aligned: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Weights the frames, and returns their fused features and the input of the spatial attention, each (b, c, h, w)."""
        embedding_ref = self.temporal_attn1(aligned[self.center_frame_idx])
        if self.packed_fusion is not None and self.packed_fusion.serves(embedding_ref):
            weights = [similarity(self.temporal_attn2(feat), embedding_ref) for feat in aligned]
            feat, attn = self.packed_fusion(*aligned, slope=SLOPE, scales=weights, parts=2).chunk(2)
            return feat, attn
        weights = [(self.temporal_attn2(feat) * embedding_ref).sum(1, keepdim=True).sigmoid_() for feat in aligned]
        weighted = torch.cat([feat * weight for feat, weight in zip(aligned, weights, strict=True)], 1)
        return self.feat_fusion(weighted, slope=SLOPE), self.spatial_attn1(weighted, slope=SLOPE)

    def spatial_attention(self, attn: Tensor) -> Tensor:
        """Computes the logits of the spatial attention, (b, c, h, w), with a pyramid that halves the size twice."""
        attn = self.spatial_attn2(*_halve(attn), slope=SLOPE)
        level = self.spatial_attn_l1(attn, slope=SLOPE)
        level = self.spatial_attn_l2(torch.cat(_halve(level), 1), SLOPE)
        level = upsample(self.spatial_attn_l3(level, SLOPE))
        attn = self.spatial_attn3(attn, SLOPE) + level
        attn = upsample(self.spatial_attn4(attn, slope=SLOPE))
        return self.spatial_attn5(attn)


def _halve(x: Tensor) -> tuple[Tensor, Tensor]:
    """Takes maximum and mean of 3x3 areas at every second position: (b, c, h, w) -> twice (b, c, h / 2, w / 2)."""
    return F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)
