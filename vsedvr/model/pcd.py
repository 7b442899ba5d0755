"""Alignment with pyramid, cascading and deformable convolutions (PCD; paper, section 3.2 and figure 3)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsedvr.model.blocks import SLOPE, Conv3x3, DCNPack, lrelu, make_conv, upsample
from vsedvr.ops import conv3x3

__all__ = ["FrameFeatures", "PCDAlignment", "SplitConv"]

LEVELS = ("l1", "l2", "l3")


class FrameFeatures(NamedTuple):
    """All that the alignment needs of a frame and that depends on this frame only.

    The levels l1, l2 and l3 of the pyramid have full, half and quarter size. A convolution of cat(nbr, ref) is the sum of a
    convolution of nbr and one of ref. So offset_conv1 and cas_offset_conv1 are split into the shares of the two frames: each
    is computed once, and a pair of frames only adds them.
    """

    feat: tuple[Tensor, ...]
    """The pyramid: (b, c, h, w), (b, c, h / 2, w / 2), (b, c, h / 4, w / 4)."""
    offset_nbr: tuple[Tensor, ...]
    """This frame's share of offset_conv1 when it is the neighbour, for each level; shapes as in feat."""
    offset_ref: tuple[Tensor, ...]
    """This frame's share of offset_conv1, with the bias, when it is the reference, for each level; shapes as in feat."""
    cas_offset_ref: Tensor
    """This frame's share of cas_offset_conv1, with the bias, when it is the reference: (b, c, h, w)."""


class SplitConv(Conv3x3):
    """A convolution of cat(nbr, ref) that can be had as the sum of a convolution of nbr and one of ref."""

    def __init__(self, num_feat: int) -> None:
        super().__init__(2 * num_feat, num_feat)
        self.halves: tuple[Tensor, ...] | None = None

    def nbr_share(self, nbr: Tensor) -> Tensor:
        """The convolution of nbr, without the bias: (b, c, h, w) -> (b, c, h, w)."""
        return conv3x3(nbr, self._halves()[0])

    def ref_share(self, ref: Tensor) -> Tensor:
        """The convolution of ref, with the bias: (b, c, h, w) -> (b, c, h, w)."""
        return conv3x3(ref, self._halves()[1], self.bias)

    def pack(self) -> None:
        """Copies the two halves of the weight once, so that no call has to. From then on the weight must stay as it is."""
        self.halves = tuple(half.detach().clone(memory_format=torch.channels_last) for half in self._halves())

    def _halves(self) -> tuple[Tensor, ...]:
        return self.weight.chunk(2, 1) if self.halves is None else self.halves


class PCDAlignment(nn.Module):
    """Aligns a neighbour's features to the reference frame, from the coarsest level to the finest, and then once more."""

    def __init__(self, num_feat: int, deformable_groups: int) -> None:
        super().__init__()
        self.offset_conv1 = nn.ModuleDict({level: SplitConv(num_feat) for level in LEVELS})
        self.offset_conv2 = nn.ModuleDict(
            {level: make_conv(num_feat if level == "l3" else 2 * num_feat, num_feat) for level in LEVELS}
        )
        self.offset_conv3 = nn.ModuleDict({level: make_conv(num_feat, num_feat) for level in LEVELS[:2]})
        self.dcn_pack = nn.ModuleDict(
            {level: DCNPack(num_feat, deformable_groups, SLOPE if level == "l3" else 1) for level in LEVELS}
        )
        self.feat_conv = nn.ModuleDict({level: make_conv(2 * num_feat, num_feat) for level in LEVELS[:2]})
        self.cas_offset_conv1 = SplitConv(num_feat)
        self.cas_offset_conv2 = make_conv(num_feat, num_feat)
        self.cas_dcnpack = DCNPack(num_feat, deformable_groups, SLOPE)

    def prepare(self, feat_l1: Tensor, feat_l2: Tensor, feat_l3: Tensor) -> FrameFeatures:
        """The part of the alignment that depends on one frame only, from its pyramid of features."""
        feat = (feat_l1, feat_l2, feat_l3)
        convs: list[Any] = [self.offset_conv1[level] for level in LEVELS]
        return FrameFeatures(
            feat,
            offset_nbr=tuple(conv.nbr_share(x) for conv, x in zip(convs, feat, strict=True)),
            offset_ref=tuple(conv.ref_share(x) for conv, x in zip(convs, feat, strict=True)),
            cas_offset_ref=self.cas_offset_conv1.ref_share(feat_l1),
        )

    def forward(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        """The neighbour's features, aligned to the reference: (b, c, h, w)."""
        nbr_l1, nbr_l2, nbr_l3 = nbr.feat
        offset_l1, offset_l2, offset_l3 = (lrelu(n + r) for n, r in zip(nbr.offset_nbr, ref.offset_ref, strict=True))

        offset = lrelu(self.offset_conv2["l3"](offset_l3))
        feat = self.dcn_pack["l3"](nbr_l3, offset)

        offset = self.refine_offset("l2", offset_l2, coarse=offset)
        feat = self.merge_feat("l2", self.dcn_pack["l2"](nbr_l2, offset), coarse=feat)
        feat = lrelu(feat)

        offset = self.refine_offset("l1", offset_l1, coarse=offset)
        feat = self.merge_feat("l1", self.dcn_pack["l1"](nbr_l1, offset), coarse=feat)

        offset = lrelu(self.cas_offset_conv1.nbr_share(feat) + ref.cas_offset_ref)
        offset = lrelu(self.cas_offset_conv2(offset))
        return self.cas_dcnpack(feat, offset)

    def refine_offset(self, level: str, offset: Tensor, coarse: Tensor) -> Tensor:
        """Features for the offsets of a level, from its own and the coarser level's, whose offsets of 1 pixel are 2 here."""
        offset = lrelu(self.offset_conv2[level](torch.cat([offset, upsample(coarse) * 2], 1)))
        return lrelu(self.offset_conv3[level](offset))

    def merge_feat(self, level: str, feat: Tensor, coarse: Tensor) -> Tensor:
        """Joins the aligned features of a level with those of the coarser level."""
        return self.feat_conv[level](torch.cat([feat, upsample(coarse)], 1))
