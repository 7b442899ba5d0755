"""Measures how large a network is and how much it computes."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from vsedvr.model import EDVR

__all__ = ["Complexity", "measure_complexity", "measure_stages"]


class Complexity(NamedTuple):
    """Number of parameters, and of multiply-accumulates (MACs) of all convolutions, for one output frame.

    A deformable convolution counts like a plain one; sampling and interpolation do not count. The features of every frame in
    the window are counted, as papers do, although the engine computes the features of a frame once and reuses them in later
    windows.
    """

    parameters: int
    extract: int
    """MACs of feature extraction, for all frames of the window, including the parts of PCD that depend on a single frame."""
    align: int
    """MACs of the alignment (PCD), for all frames of the window."""
    fuse: int
    reconstruct: int

    @property
    def macs(self) -> int:
        return self.extract + self.align + self.fuse + self.reconstruct


def measure_complexity(model: EDVR, height: int, width: int) -> Complexity:
    """Counts parameters and MACs, with the smallest input that the network takes, because all layers scale with the input.

    Args:
        model: network on the CPU.
        height, width: size of the input in pixels; rounded up to the network's multiple, as the engine pads.
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


def measure_stages(models: Sequence[EDVR], height: int, width: int, ensemble: int = 1) -> Complexity:
    """Counts what one output frame takes that goes through several networks, each in all versions of an ensemble.

    Args:
        models: in the order in which they restore.
        height, width: of the input of the first one.
        ensemble: number of versions, whose multiply-accumulates all count.
    """
    factors = [math.prod(model.config.scale for model in models[:k]) for k in range(len(models))]
    each = [measure_complexity(model, f * height, f * width) for model, f in zip(models, factors, strict=True)]
    parameters, *phases = (sum(counts) for counts in zip(*each, strict=True))
    return Complexity(parameters, *(ensemble * macs for macs in phases))


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
