"""How large a network is and how much it computes."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from vsedvr.model import EDVR

__all__ = ["Complexity", "measure_complexity"]


class Complexity(NamedTuple):
    """Parameters, and multiply-accumulates of all convolutions for one output frame.

    A deformable convolution counts as a plain one; sampling and interpolation do not count. Every frame of the window is
    extracted, as papers count; the engine extracts a frame once and keeps it for the windows after.
    """

    parameters: int
    extract: int
    """MACs for all frames of the window; the shares of PCD's first convolutions that depend on one frame included."""
    align: int
    """MACs for all frames of the window."""
    fuse: int
    reconstruct: int

    @property
    def macs(self) -> int:
        return self.extract + self.align + self.fuse + self.reconstruct


def measure_complexity(model: EDVR, height: int, width: int) -> Complexity:
    """Counts on the smallest input that the network takes: all its maps are in fixed ratio to the input.

    Args:
        model: on the CPU.
        height, width: of the input; rounded up to the network's multiple, as the engine pads.
    """
    config = model.config
    multiple = config.size_multiple
    areas = math.ceil(height / multiple) * math.ceil(width / multiple)
    frame = torch.zeros(1, config.num_in_ch, multiple, multiple)
    extract, features = _count(lambda: model.extract(frame))
    align, aligned = _count(lambda: model.align(features, features))
    fuse, fused = _count(lambda: model.fuse([aligned] * config.num_frame))
    reconstruct, _ = _count(lambda: model.reconstruct(fused, frame))
    per_frame = config.num_frame * extract, config.num_frame * align, fuse, reconstruct
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), *(areas * macs for macs in per_frame))


@torch.no_grad()
def _count[T](phase: Callable[[], T]) -> tuple[int, T]:
    ours = {torch.ops.vsedvr.conv3x3: _conv3x3_flops, torch.ops.vsedvr.dcn: _dcn_flops}
    with FlopCounterMode(display=False, custom_mapping=ours) as counter:
        out = phase()
    return counter.get_total_flops() // 2, out


Shape = Sequence[int]


def _conv3x3_flops(x: Shape, weight: Shape, bias: Shape | None, *, out_shape: Shape) -> int:
    return 2 * math.prod(weight) * math.prod(out_shape) // out_shape[1]


def _dcn_flops(
    x: Shape,
    conv_offset_output: Shape,
    weight: Shape,
    bias: Shape,
    slope: float,
    offset_bias: Shape | None = None,
    *,
    out_shape: Shape,
) -> int:
    return _conv3x3_flops(x, weight, bias, out_shape=out_shape)
