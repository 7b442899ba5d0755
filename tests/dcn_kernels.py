"""Inputs of the deformable convolution's GPU kernels, and what they must give; and where the kernels run."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cuda_runner import SCHEDULES, Runner
from vsedvr.ops import cuda_dcn

__all__ = [
    "GRADIENT_TOLERANCE",
    "SHAPES",
    "TOLERANCE",
    "TYPES",
    "RunAll",
    "Shape",
    "Tensors",
    "assert_close",
    "differentiable",
    "expected",
    "forward",
    "inputs",
    "typed",
]

Tensors = tuple[Tensor, ...]
Four = tuple[Tensor, Tensor, Tensor, Tensor]

TOLERANCE = {torch.float32: 5e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Largest error against float64 with the same inputs, relative to the largest value."""

GRADIENT_TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Tolerances for gradients. They are larger because the gradient of the samples is rounded to the type in between."""

TYPES = [
    (torch.float32, torch.float32),
    (torch.float16, torch.float16),
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.float32),
]
"""Types of x and of conv_offset_output."""

Shape = tuple[int, int, int, int, int, int, int]

SHAPES: list[Shape] = [  # b, c, out_channels, groups, h, w, kernel
    (1, 32, 32, 4, 8, 8, 3),
    (3, 32, 32, 4, 1, 17, 3),
    (2, 64, 64, 8, 9, 7, 3),
    (1, 64, 64, 8, 16, 24, 3),
    (2, 128, 128, 8, 11, 5, 3),
    (1, 16, 16, 8, 1, 1, 3),
    (1, 64, 64, 4, 5, 9, 3),
    (2, 24, 70, 3, 9, 10, 3),
    (1, 12, 5, 4, 4, 30, 5),
    (1, 7, 130, 1, 10, 3, 1),
]


class RunAll:
    """Calls a function of tensors where the kernels can run: on a GPU, or on the CPU under every schedule."""

    def __init__(self, device: torch.device, runner: Runner | None) -> None:
        self.device = device
        self.runner = runner

    def __call__(self, function: Callable[..., Tensors], *tensors: Tensor) -> Iterator[Tensors]:
        for schedule in SCHEDULES if self.runner else ("",):
            if self.runner:
                self.runner.schedule = schedule
            yield tuple(out.cpu() for out in function(*(tensor.to(self.device) for tensor in tensors)))


def inputs(b: int, c: int, out_channels: int, groups: int, h: int, w: int, kernel: int, *, reach: float = 3) -> Four:
    taps = kernel * kernel
    conv_offset_output = torch.randn(b, 3 * groups * taps, h, w)
    conv_offset_output[:, : 2 * groups * taps] *= reach
    weight = torch.randn(out_channels, c, kernel, kernel) / (c * taps) ** 0.5
    return torch.randn(b, c, h, w), conv_offset_output, weight, torch.randn(out_channels)


def typed(tensors: Four, dtype: torch.dtype, offset_dtype: torch.dtype) -> Four:
    x, conv_offset_output, weight, bias = tensors
    return x.to(dtype), conv_offset_output.to(offset_dtype), weight.to(dtype), bias.to(dtype)


def differentiable(tensors: Four) -> Four:
    x, conv_offset_output, weight, bias = (tensor.double().requires_grad_() for tensor in tensors)
    return x, conv_offset_output, weight, bias


def expected(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Computes the expected result with torchvision in float64, from the inputs as they are."""
    x, conv_offset_output, weight, bias = (tensor.double() for tensor in (x, conv_offset_output, weight, bias))
    o1, o2, mask = conv_offset_output.chunk(3, 1)
    padding = weight.shape[-1] // 2
    deform_conv2d = pytest.importorskip("torchvision.ops", reason="no torchvision").deform_conv2d
    out = deform_conv2d(x, torch.cat([o1, o2], 1), weight, bias, padding=padding, mask=mask.sigmoid())
    return F.leaky_relu(out, slope)


def forward(slope: float) -> Callable[..., Tensors]:
    return lambda x, conv_offset_output, weight, bias: (cuda_dcn.forward(x, conv_offset_output, weight, bias, slope),)


def assert_close(actual: Tensor, exact: Tensor, tolerance: float) -> None:
    assert (actual - exact).abs().max() <= tolerance * exact.abs().max()
