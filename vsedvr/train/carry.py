"""A start for networks that do not enlarge: each pixel has a way through the features, which are four times smaller."""

from collections.abc import Iterable

import torch
from torch import nn

from vsedvr.model import EDVR

__all__ = ["carry_pixels"]

LUMA = (0.299, 0.587, 0.114)
CELL = 16
"""Pixels that become one place of the features: 4 by 4."""

QUARTERS = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Where the four pixels that become one lie in the kernel of a 3x3 convolution with stride 2."""

MIDDLE = (1, 1)
Link = tuple[int, int, tuple[int, int]]
"""From an input channel, read at a place of the kernel, to an output channel: (out, in, (y, x))."""


def carry_pixels(model: EDVR) -> None:
    """Sets weights so that 16 channels carry the luma of the centre frame's pixels from the input to the last convolution.

    From random weights such a network takes long to bring single pixels through features of a quarter of the size, and as
    long as it does not, it cannot remove their noise. All other weights stay as they are.

    Raises:
        ValueError: if the network enlarges, begins with PreDeblur, has no TSA, or is narrower than 16 features.
    """
    config = model.config
    if not config.hr_in or config.with_predeblur or not config.with_tsa or config.num_feat < CELL:
        raise ValueError(
            "train.carry_pixels is for networks with network.hr_in and TSA, without PreDeblur and of at least "
            f"{CELL} features, not {config}"
        )
    whole = [(channel, channel, MIDDLE) for channel in range(CELL)]
    inner = [(k, 0, QUARTERS[k]) for k in range(4)]  # four pixels to one place, then four places to one
    outer = [(4 * p + k, k, QUARTERS[p]) for p in range(4) for k in range(4)]
    with torch.no_grad():
        _link(model.conv_first, [(0, 0, MIDDLE)])
        model.conv_first.weight[0, :, 1, 1] = torch.tensor(LUMA)
        _link(model.stride_conv_hr1, inner)
        _link(model.stride_conv_hr2, outer)
        pcd = model.pcd_align
        _link(pcd.dcn_pack["l1"], whole, gain=2)  # masks begin at a half
        _link(pcd.feat_conv["l1"], whole)
        _link(pcd.cas_dcnpack, whole, gain=2)
        center = config.center * config.num_feat
        _link(model.fusion.get_submodule("feat_fusion"), [(channel, center + channel, (0, 0)) for channel in range(CELL)])
        # The pixel shuffles take channel 4 * c + p to place p of channel c
        _link(model.upconv1, [(4 * k + p, 4 * p + k, MIDDLE) for p in range(4) for k in range(4)])
        _link(model.upconv2, [(k, k, MIDDLE) for k in range(4)])
        _link(model.conv_hr, [(0, 0, MIDDLE)])
        model.conv_last.weight.mul_(0.1)  # begins near the input


def _link(conv: nn.Module, links: Iterable[Link], gain: float = 1) -> None:
    """Output channels that are linked get nothing else."""
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    for out, channel, (y, x) in links:
        weight[out] = 0
        bias[out] = 0
        weight[out, channel, y, x] = gain
