"""A start for networks that do not enlarge: each pixel has a way through the features, which are four times smaller."""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.loss import LUMA

__all__ = ["carry_pixels"]

CELL = 16
"""Pixels that become one place of the features: 4 by 4."""
QUARTERS = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Where the four pixels that become one lie in the kernel of a 3x3 convolution with stride 2."""

Place = tuple[int, int]
TWO_BY_TWO: list[Place] = [(0, 0), (0, 1), (1, 0), (1, 1)]
FOUR_BY_FOUR: list[Place] = [(2 * py + y, 2 * px + x) for py, px in TWO_BY_TWO for y, x in TWO_BY_TWO]
"""Places of a cell's pixels in the order in which channels carry them: quarter by quarter."""

MIDDLE = (1, 1)
Link = tuple[int, int, tuple[int, int]]
"""From an input channel, read at a place of the kernel, to an output channel: (out, in, (y, x))."""


def carry_pixels(model: EDVR) -> None:
    """Sets weights so that the first 16 channels carry the luma of the pixels to the last convolutions, the next 16 the mean
    of the frames before and after, and these convolutions begin as filters of single pixels.

    The features of such a network are four times smaller than its frames, and each of the 4 by 4 pixels in a place has
    weights of its own from there on. From random ones every pixel is filtered in another way and the network hardly learns
    what is the same for all. With these it begins with one way for all and nearly at its input, and its attention weighs
    all frames alike. Nothing but edges reaches the filters at first: a mean brightness would drown them. All other weights
    stay as they are.

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
        _pass_blocks(model.feature_extraction)
        _pass_alignment(model.pcd_align)
        _fuse_alike(model.fusion, config)
        _pass_blocks(model.reconstruction)
        _filter_alike(model)


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


def _pass_blocks(blocks: nn.Module) -> None:
    """They add nothing yet."""
    for name, parameter in blocks.named_parameters():
        if ".conv2." in name:
            nn.init.zeros_(parameter)


def _fuse_alike(fusion: nn.Module, config: EDVRConfig) -> None:
    """The centre frame's lumas pass, then the mean of those of the frames beside it; nothing else does yet."""
    for name in ("temporal_attn1", "spatial_attn5", "spatial_attn_add2", "feat_fusion"):
        nn.init.zeros_(fusion.get_parameter(f"{name}.weight"))
        nn.init.zeros_(fusion.get_parameter(f"{name}.bias"))
    weight = fusion.get_parameter("feat_fusion.weight")
    beside = [n for n in (config.center - 1, config.center + 1) if 0 <= n < config.num_frame]
    for k in range(CELL):
        weight[k, config.center * config.num_feat + k] = 2  # the weight of each frame is the sigmoid of 0
        for n in beside:
            weight[CELL + k, n * config.num_feat + k] = 2 / len(beside)


def _filter_alike(model: EDVR) -> None:
    """Luma and random features of single pixels from the lumas, then features of those, then what to add to the input.

    The pixel shuffles take channel 4 * c + p to place p of channel c.
    """
    for conv in (model.upconv1, model.upconv2, model.conv_hr, model.conv_last):
        for parameter in conv.parameters():
            nn.init.zeros_(parameter)
    num_tail_feat, features = model.config.num_tail_feat, range(1, model.config.num_feat // 4)
    one = torch.ones(1, 1)
    _spread(model.upconv1.weight, one, FOUR_BY_FOUR, range(CELL), _enlarged(0))
    for c, carried in product(features, (range(CELL), range(CELL, 2 * CELL))):
        _spread(model.upconv1.weight, _edges(_random(7, 1)), FOUR_BY_FOUR, carried, _enlarged(c))

    _spread(model.upconv2.weight, one, TWO_BY_TWO, _four(0), _four(0))
    for out in range(1, num_tail_feat):
        _spread(model.upconv2.weight, _edges(_random(5, len(features) + 1)), TWO_BY_TWO, _four(0), _four(out))
        for c in features:
            _spread(model.upconv2.weight, _random(5, len(features) + 1), TWO_BY_TWO, _four(c), _four(out))

    for out, c in product(range(num_tail_feat), repeat=2):
        kernel = _random(3, num_tail_feat)
        model.conv_hr.weight[out, c] = kernel if c else _edges(kernel)
    for c in range(num_tail_feat):
        model.conv_last.weight[:, c] = 0.1 * _random(3, num_tail_feat)  # the same to R, G and B


def _four(c: int) -> range:
    """The channels of feature c where it has half of the size, and those that a pixel shuffle turns into channel c."""
    return range(4 * c, 4 * c + 4)


def _enlarged(c: int) -> list[int]:
    """The channels that two pixel shuffles turn into feature c, in the order of FOUR_BY_FOUR."""
    return [4 * half + place for place in range(4) for half in _four(c)]


def _random(size: int, channels: int) -> Tensor:
    """A kernel (size, size) in the range of torch's own, for as many input channels."""
    return (torch.rand(size, size) * 2 - 1) / (channels * size**2) ** 0.5


def _edges(kernel: Tensor) -> Tensor:
    """The kernel less its mean: where all is of one brightness it gives 0."""
    return kernel - kernel.mean()


def _spread(weight: Tensor, kernel: Tensor, places: Sequence[Place], carried: Sequence[int], out: Sequence[int]) -> None:
    """Adds a filter of single pixels to a convolution of cells.

    Args:
        weight: (channels out, channels in, 3, 3).
        kernel: (k, k) with an odd k, at most 2 * side of a cell + 1.
        places: of a cell's pixels, in the order of the channels that carry them.
        carried, out: the channels of the filter's input and output, one for each place.
    """
    side, radius = round(len(places) ** 0.5), len(kernel) // 2
    for (y, x), to in zip(places, out, strict=True):
        for dy, dx in product(range(-radius, radius + 1), repeat=2):
            origin = carried[places.index(((y + dy) % side, (x + dx) % side))]
            weight[to, origin, (y + dy) // side + 1, (x + dx) // side + 1] += kernel[dy + radius, dx + radius]


def _link(conv: nn.Module, links: Iterable[Link], gain: float = 1) -> None:
    """Output channels that are linked get nothing else."""
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    for out, channel, (y, x) in links:
        weight[out] = 0
        bias[out] = 0
        weight[out, channel, y, x] = gain
