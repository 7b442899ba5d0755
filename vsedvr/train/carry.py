"""First weights for networks that do not enlarge: they carry single pixels through features that are four times smaller."""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.loss import LUMA

__all__ = ["carry_pixels"]

CELL = 16
"""Number of input pixels (4 by 4) that become one position of the features."""
QUARTERS = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Positions (y, x), in the kernel of a 3x3 convolution with stride 2, of the four pixels that become one position."""

Place = tuple[int, int]
"""Position (y, x), in a kernel or a cell."""
TWO_BY_TWO: list[Place] = [(0, 0), (0, 1), (1, 0), (1, 1)]
FOUR_BY_FOUR: list[Place] = [(2 * py + y, 2 * px + x) for py, px in TWO_BY_TWO for y, x in TWO_BY_TWO]
"""Positions of a cell's 16 pixels in the order in which channels carry them: quarter by quarter."""

MIDDLE = (1, 1)
"""Position of the middle of a 3x3 kernel."""
Link = tuple[int, int, Place]
"""(output channel, input channel, position in the 3x3 kernel): the output takes the input's value at this position."""


def carry_pixels(model: EDVR) -> None:
    """Sets weights so that an untrained network applies the same filter to every pixel.

    The features of a network that does not enlarge are four times smaller than its frames, so each of the 4 by 4 pixels in one
    position of the features has weights of its own. With random weights every pixel is filtered in a different way, and the
    network hardly learns what is the same for all pixels. With these weights
    - the first 16 channels carry the luma of the pixels to the last convolutions, and the next 16 carry the mean luma of the
      frames before and after;
    - the last convolutions start as filters on single pixels that respond to edges only, because a mean brightness would
      hide the edges;
    - the attention gives all frames the same weight, and the output is nearly the input.
    All other weights are left unchanged.

    Args:
        model: network whose weights are set.

    Raises:
        ValueError: if the network enlarges, begins with PreDeblur, has no TSA, or has fewer than 32 features.
    """
    config = model.config
    if config.scale != 1 or config.with_predeblur or not config.with_tsa or config.num_feat < 2 * CELL:
        raise ValueError(
            "train.carry_pixels is for networks with network.scale 1 and TSA, without PreDeblur and of at least "
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
    """Makes the two strided convolutions put four neighbouring luma values each into the channels of one position."""
    _link(model.conv_first, [(0, 0, MIDDLE)])
    model.conv_first.weight[0, :, 1, 1] = torch.tensor(LUMA, dtype=torch.float32, device="cpu")
    _link(model.stride_conv_hr1, [(k, 0, QUARTERS[k]) for k in range(4)])
    _link(model.stride_conv_hr2, [(4 * p + k, k, QUARTERS[p]) for p in range(4) for k in range(4)])


def _pass_alignment(pcd_align: nn.Module) -> None:
    """Makes the alignment pass the packed luma on unchanged, as long as no offset is learned."""
    same = [(channel, channel, MIDDLE) for channel in range(CELL)]
    _link(pcd_align.get_submodule("dcn_pack.l1"), same, gain=2)  # masks are 0.5 before training
    _link(pcd_align.get_submodule("feat_conv.l1"), same)
    _link(pcd_align.get_submodule("cas_dcnpack"), same, gain=2)


def _pass_blocks(blocks: nn.Module) -> None:
    """Makes residual blocks add nothing at first, with zeros in the second convolution of each."""
    for name, parameter in blocks.named_parameters():
        if ".conv2." in name:
            nn.init.zeros_(parameter)


def _fuse_alike(fusion: nn.Module, config: EDVRConfig) -> None:
    """Makes the fusion pass on only the centre frame's luma, then the mean luma of the frames beside it."""
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
    """Makes the last convolutions random filters on single pixels, whose results are added to the input.

    upconv1 makes luma (feature 0) and random features of it, upconv2 and conv_hr make features of these, and conv_last sums
    them up. A pixel shuffle moves channel 4 * c + p to position p of channel c.
    """
    for conv in (model.upconv1, model.upconv2, model.conv_hr, model.conv_last):
        for parameter in conv.parameters():
            nn.init.zeros_(parameter)
    num_tail_feat, features = model.config.num_tail_feat, range(1, model.config.num_feat // 4)
    one = torch.ones(1, 1, dtype=torch.float32, device="cpu")
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
        model.conv_last.weight[:, c] = 0.1 * _random(3, num_tail_feat)  # the same for R, G and B


def _four(c: int) -> range:
    """Returns the four channels that a pixel shuffle turns into channel c; at half of the size they are feature c."""
    return range(4 * c, 4 * c + 4)


def _enlarged(c: int) -> list[int]:
    """Returns the channels that two pixel shuffles turn into feature c, in the order of FOUR_BY_FOUR."""
    return [4 * half + place for place in range(4) for half in _four(c)]


def _random(size: int, channels: int) -> Tensor:
    """Makes a random kernel (size, size), in the range that PyTorch uses for a convolution with this many input channels."""
    return (torch.rand(size, size, dtype=torch.float32, device="cpu") * 2 - 1) / (channels * size**2) ** 0.5


def _edges(kernel: Tensor) -> Tensor:
    """Subtracts the kernel's mean, so that it gives 0 where the brightness does not change."""
    return kernel - kernel.mean()


def _spread(weight: Tensor, kernel: Tensor, places: Sequence[Place], carried: Sequence[int], out: Sequence[int]) -> None:
    """Adds a filter on single pixels to a convolution on cells.

    Args:
        weight: weight of the convolution, (channels out, channels in, 3, 3), which is changed.
        kernel: filter (k, k) with odd k, at most 2 * side of a cell + 1.
        places: positions (y, x) of a cell's pixels, in the order of the channels that carry them.
        carried: channel of the filter's input for each position.
        out: channel of the filter's output for each position.
    """
    side, radius = round(len(places) ** 0.5), len(kernel) // 2
    for (y, x), to in zip(places, out, strict=True):
        for dy, dx in product(range(-radius, radius + 1), repeat=2):
            origin = carried[places.index(((y + dy) % side, (x + dx) % side))]
            weight[to, origin, (y + dy) // side + 1, (x + dx) // side + 1] += kernel[dy + radius, dx + radius]


def _link(conv: nn.Module, links: Iterable[Link], gain: float = 1) -> None:
    """Sets a convolution so that each linked output channel is `gain` times one value of its input; other weights become 0."""
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    for out, channel, (y, x) in links:
        weight[out] = 0
        bias[out] = 0
        weight[out, channel, y, x] = gain
