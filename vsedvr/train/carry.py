"""A start for networks that do not enlarge: each pixel has a way through the features, which are four times smaller."""

from collections.abc import Iterable

import torch
from torch import nn

from vsedvr.model import EDVR

__all__ = ["carry_pixels"]

LUMA = (0.299, 0.587, 0.114)
CELL = 16
"""Pixels that become one place of the features: 4 by 4."""
OFFSET = 0.25
"""Added to what has a sign, so that the leaky ReLUs on its way let it pass; taken off at the end."""

QUARTERS = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Where the four pixels that become one lie in the kernel of a 3x3 convolution with stride 2."""

MIDDLE = (1, 1)
Link = tuple[int, int, tuple[int, int]]
"""From an input channel, read at a place of the kernel, to an output channel: (out, in, (y, x))."""


def carry_pixels(model: EDVR) -> None:
    """Sets weights so that 16 channels carry the luma of the frames' pixels to the blocks of the reconstruction, and what
    these write to the next 16 is added to the pixels.

    From random weights such a network takes long to bring single pixels through features of a quarter of the size, and as
    long as it does not, it cannot restore them. With these it begins near its input, and its attention weighs all alike.
    All other weights stay as they are.

    Raises:
        ValueError: if the network enlarges, begins with PreDeblur, has no TSA, or is narrower than 32 features.
    """
    config = model.config
    if not config.hr_in or config.with_predeblur or not config.with_tsa or config.num_feat < 2 * CELL:
        raise ValueError(
            "train.carry_pixels is for networks with network.hr_in and TSA, without PreDeblur and of at least "
            f"{2 * CELL} features, not {config}"
        )
    with torch.no_grad():
        _pack_lumas(model)
        _pass_alignment(model.pcd_align)
        _fuse_alike(model.fusion, config.center * config.num_feat)
        _unpack_and_add(model)


def _pack_lumas(model: EDVR) -> None:
    """Four pixels to one place, then four places to one."""
    _link(model.conv_first, [(0, 0, MIDDLE)])
    model.conv_first.weight[0, :, 1, 1] = torch.tensor(LUMA)
    _link(model.stride_conv_hr1, [(k, 0, QUARTERS[k]) for k in range(4)])
    _link(model.stride_conv_hr2, [(4 * p + k, k, QUARTERS[p]) for p in range(4) for k in range(4)])


def _pass_alignment(pcd_align: nn.Module) -> None:
    """As long as no offset is learned, what was packed stays where it is."""
    same = [(channel, channel, MIDDLE) for channel in range(CELL)]
    _link(pcd_align.get_submodule("dcn_pack.l1"), same, gain=2)  # masks begin at a half
    _link(pcd_align.get_submodule("feat_conv.l1"), same)
    _link(pcd_align.get_submodule("cas_dcnpack"), same, gain=2)


def _fuse_alike(fusion: nn.Module, center: int) -> None:
    """The centre frame's lumas, from channel `center` on, pass; the channels of what to add begin with little."""
    for name in ("temporal_attn1", "spatial_attn5", "spatial_attn_add2"):
        nn.init.zeros_(fusion.get_parameter(f"{name}.weight"))
        nn.init.zeros_(fusion.get_parameter(f"{name}.bias"))
    feat_fusion = fusion.get_submodule("feat_fusion")
    lumas = [(channel, center + channel, (0, 0)) for channel in range(CELL)]
    _link(feat_fusion, lumas, gain=2)  # the weight of each frame is the sigmoid of 0
    feat_fusion.get_parameter("weight")[CELL : 2 * CELL] *= 0.1
    feat_fusion.get_parameter("bias")[CELL : 2 * CELL] = OFFSET


def _unpack_and_add(model: EDVR) -> None:
    """The pixel shuffles take channel 4 * c + p to place p of channel c."""
    _link(model.upconv1, [(4 * k + p, CELL + 4 * p + k, MIDDLE) for p in range(4) for k in range(4)])
    _link(model.upconv2, [(k, k, MIDDLE) for k in range(4)])
    _link(model.conv_hr, [(0, 0, MIDDLE)])
    weight, bias = model.conv_last.get_parameter("weight"), model.conv_last.get_parameter("bias")
    weight.mul_(0.1)
    weight[:, 0] = 0
    weight[:, 0, 1, 1] = 1  # the same to R, G and B
    bias.fill_(-OFFSET)


def _link(conv: nn.Module, links: Iterable[Link], gain: float = 1) -> None:
    """Output channels that are linked get nothing else."""
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    for out, channel, (y, x) in links:
        weight[out] = 0
        bias[out] = 0
        weight[out, channel, y, x] = gain
