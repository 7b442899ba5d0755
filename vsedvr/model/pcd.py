"""Alignment with pyramid, cascading and deformable convolutions (PCD; paper, section 3.2 and figure 3)."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from vsedvr.model.blocks import SLOPE, Conv3x3, DCNPack, lrelu, make_conv
from vsedvr.ops import PackedConv3x3, add, bias_act, conv3x3, pack_conv3x3, runs_bias_act

__all__ = ["FrameFeatures", "PCDAlignment", "SplitConv"]

LEVELS = ("l1", "l2", "l3")


class FrameFeatures(NamedTuple):
    """Features of one frame that the alignment needs and that do not depend on other frames.

    The levels l1, l2 and l3 of the pyramid have full, half and quarter size. A convolution of cat(nbr, ref) is the sum of a
    convolution of nbr and one of ref. So offset_conv1 and cas_offset_conv1 are split into a share for each of the two frames:
    every share is computed once, and for a pair of frames they are only added.
    """

    feat: tuple[Tensor, ...]
    """The pyramid of features: (b, c, h, w), (b, c, h / 2, w / 2) and (b, c, h / 4, w / 4)."""
    offset_nbr: tuple[Tensor, ...]
    """This frame's share of offset_conv1 as the neighbour, for each level, in the shapes of feat."""
    offset_ref: tuple[Tensor, ...]
    """This frame's share of offset_conv1 as the reference, with the bias, for each level, in the shapes of feat."""
    cas_offset_ref: Tensor
    """This frame's share of cas_offset_conv1 as the reference, with the bias: (b, c, h, w)."""


class SplitConv(Conv3x3):
    """A 3x3 convolution of cat(nbr, ref), split into the sum of a convolution of nbr and one of ref."""

    def __init__(self, num_feat: int) -> None:
        super().__init__(2 * num_feat, num_feat)
        self.halves: tuple[Tensor, ...] | None = None
        self.packed_nbr: PackedConv3x3 | None = None
        self.packed_ref: PackedConv3x3 | None = None

    def nbr_share(self, nbr: Tensor) -> Tensor:
        """Convolves nbr with its half of the weight, without the bias: (b, c, h, w) -> (b, c, h, w)."""
        if self.packed_nbr is not None and self.packed_nbr.serves(nbr):
            return self.packed_nbr(nbr)
        return conv3x3(nbr, self._halves()[0])

    def ref_share(self, ref: Tensor) -> Tensor:
        """Convolves ref with its half of the weight, with the bias: (b, c, h, w) -> (b, c, h, w)."""
        if self.packed_ref is not None and self.packed_ref.serves(ref):
            return self.packed_ref(ref)
        if self.fused and runs_bias_act(ref):
            return bias_act(conv3x3(ref, self._halves()[1]), self.bias)
        return conv3x3(ref, self._halves()[1], self.bias)

    def with_share(self, nbr: Tensor, ref_share: Tensor) -> Tensor:
        """Applies a LeakyReLU to the whole convolution, given nbr and the result of ref_share, all (b, c, h, w)."""
        if self.packed_nbr is not None and self.packed_nbr.serves(nbr):
            return self.packed_nbr(nbr, SLOPE, add=ref_share)
        if self.fused and runs_bias_act(nbr):
            return bias_act(self.nbr_share(nbr), None, SLOPE, add=ref_share)
        return lrelu(self.nbr_share(nbr) + ref_share)

    def pack(self) -> None:
        """Copies and packs the two halves of the weight, so that no call has to. The weight must not change afterwards."""
        nbr, ref = (half.detach().clone(memory_format=torch.channels_last) for half in self.weight.chunk(2, 1))
        self.fused = True
        self.halves = nbr, ref
        self.packed_nbr, self.packed_ref = pack_conv3x3(nbr), pack_conv3x3(ref, self.bias)

    def _halves(self) -> tuple[Tensor, ...]:
        return self.weight.chunk(2, 1) if self.halves is None or torch.is_grad_enabled() else self.halves


class PCDAlignment(nn.Module):
    """Aligns a neighbour's features to the reference frame, from the coarsest to the finest level, and refines them once."""

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
        """Computes the part of the alignment that depends on a single frame, from its pyramid of features."""
        feat = (feat_l1, feat_l2, feat_l3)
        convs = [cast(SplitConv, self.offset_conv1[level]) for level in LEVELS]
        return FrameFeatures(
            feat,
            offset_nbr=tuple(conv.nbr_share(x) for conv, x in zip(convs, feat, strict=True)),
            offset_ref=tuple(conv.ref_share(x) for conv, x in zip(convs, feat, strict=True)),
            cas_offset_ref=self.cas_offset_conv1.ref_share(feat_l1),
        )

    def forward(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        """Aligns the neighbour's features to the reference; returns (b, c, h, w)."""
        nbr_l1, nbr_l2, nbr_l3 = nbr.feat
        offset_l1, offset_l2, offset_l3 = (lrelu(add(n, r)) for n, r in zip(nbr.offset_nbr, ref.offset_ref, strict=True))

        offset = self.offset_conv2["l3"](offset_l3, SLOPE)
        feat = self.dcn_pack["l3"](nbr_l3, offset)

        offset = self.refine_offset("l2", offset_l2, coarse=offset)
        feat = self.merge_feat("l2", self.dcn_pack["l2"](nbr_l2, offset), coarse=feat)

        offset = self.refine_offset("l1", offset_l1, coarse=offset)
        feat = self.merge_feat("l1", self.dcn_pack["l1"](nbr_l1, offset), coarse=feat)

        offset = self.cas_offset_conv1.with_share(feat, ref.cas_offset_ref)
        offset = self.cas_offset_conv2(offset, SLOPE)
        return self.cas_dcnpack(feat, offset)

    def refine_offset(self, level: str, offset: Tensor, coarse: Tensor) -> Tensor:
        """Joins a level's offset features with the coarser level's, doubled as 1 pixel there is 2 pixels here."""
        offset = self.offset_conv2[level](offset, SLOPE, x2=coarse, enlarge=2)
        return self.offset_conv3[level](offset, SLOPE)

    def merge_feat(self, level: str, feat: Tensor, coarse: Tensor) -> Tensor:
        """Joins a level's aligned features with the coarser level's, followed by a LeakyReLU except on the finest level."""
        return self.feat_conv[level](feat, 1 if level == "l1" else SLOPE, x2=coarse, enlarge=1)
