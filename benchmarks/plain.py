"""EDVR in its plain form, as BasicSR and the filters built on it compute it; vsedvr is compared with it.

All frames of a window are computed for every output, neighbour and reference are concatenated before every convolution, and the
deformable convolution is torchvision's, in the network's own type. The weights are those of a vsedvr.EDVR.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.model import EDVR
from vsedvr.model.blocks import DCNPack, lrelu
from vsedvr.model.pcd import PCDAlignment

__all__ = ["plain_dcn", "plain_form"]


def plain_form(model: EDVR, lq: Tensor) -> Tensor:
    """Restores the middle frame of one window.

    Args:
        model: network whose weights are used.
        lq: window (num_frame, 3, h, w) in [0, 1]; if h or w is not a multiple of config.size_multiple, edges are repeated.

    Returns:
        (3, scale * h, scale * w), not clamped.
    """
    height, width, config = *lq.shape[2:], model.config
    lq = F.pad(lq, (0, -width % config.size_multiple, 0, -height % config.size_multiple), "replicate")
    feat_l1 = model.feature_extraction(model._first_features(lq))
    feat_l2 = lrelu(model.conv_l2_2(lrelu(model.conv_l2_1(feat_l1))))
    feat_l3 = lrelu(model.conv_l3_2(lrelu(model.conv_l3_1(feat_l2))))
    frames = [[feat[i : i + 1] for feat in (feat_l1, feat_l2, feat_l3)] for i in range(len(lq))]
    center = config.center
    fused = model.fuse([_align(model.pcd_align, nbr, frames[center]) for nbr in frames])
    restored = model._enlarge(model.reconstruction(fused), lq[center : center + 1])[0]
    return restored[:, : config.scale * height, : config.scale * width]


def _align(pcd: PCDAlignment, nbr: list[Tensor], ref: list[Tensor]) -> Tensor:
    convs = pcd.offset_conv1.values()
    own = [lrelu(conv(torch.cat([n, r], 1))) for conv, n, r in zip(convs, nbr, ref, strict=True)]
    offset = lrelu(pcd.offset_conv2["l3"](own[2]))
    feat = _dcn_pack(pcd.dcn_pack["l3"], nbr[2], offset)
    offset = pcd.refine_offset("l2", own[1], coarse=offset)
    feat = pcd.merge_feat("l2", _dcn_pack(pcd.dcn_pack["l2"], nbr[1], offset), coarse=feat)
    offset = pcd.refine_offset("l1", own[0], coarse=offset)
    feat = pcd.merge_feat("l1", _dcn_pack(pcd.dcn_pack["l1"], nbr[0], offset), coarse=feat)
    offset = lrelu(pcd.cas_offset_conv2(lrelu(pcd.cas_offset_conv1(torch.cat([feat, ref[0]], 1)))))
    return _dcn_pack(pcd.cas_dcnpack, feat, offset)


def _dcn_pack(pack: torch.nn.Module, x: Tensor, offset_feat: Tensor) -> Tensor:
    assert isinstance(pack, DCNPack)
    return plain_dcn(x, pack.conv_offset(offset_feat), pack.weight, pack.bias, pack.slope)


def plain_dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Computes the same as `vsedvr.ops.dcn` with torchvision's operator, everything, even positions, in the type of x."""
    from torchvision.ops import deform_conv2d

    y, x_offset, mask = conv_offset_output.to(x.dtype).chunk(3, 1)
    out = deform_conv2d(x, torch.cat([y, x_offset], 1), weight, bias, padding=weight.shape[-1] // 2, mask=mask.sigmoid())
    return out if slope == 1 else F.leaky_relu(out, slope)
