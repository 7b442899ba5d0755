"""3x3 convolution with stride 1 as the torch operator `vsedvr::conv3x3`: Winograd's algorithm on CPUs (kernels/conv3x3.cpp)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import native

__all__ = ["conv3x3"]


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolves with a 3x3 kernel, stride 1 and padding 1, like F.conv2d within rounding.

    On a CPU, in float32 and without gradients, it takes about half of the time.

    Args:
        x: (b, c, h, w).
        weight: (out_channels, c, 3, 3).
        bias: (out_channels,) or None.

    Returns:
        (b, out_channels, h, w).
    """
    wants_grad = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))
    if wants_grad or not _is_served(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    return torch.ops.vsedvr.conv3x3(x, weight, bias)


def _is_served(x: Tensor, weight: Tensor) -> bool:
    """Tells whether the compiled kernel takes these tensors and is faster: it computes 16 or 32 output channels at a time."""
    out_channels, c, *kernel = weight.shape
    return (
        native.is_available()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim == 4
        and kernel == [3, 3]
        and x.shape[1] == c
        and c % 16 == 0
        and out_channels >= 16
    )


@torch.library.custom_op("vsedvr::conv3x3", mutates_args=(), device_types="cpu")
def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not _is_served(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    return native.conv3x3(x, weight, bias)


@_conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    shape = x.shape[0], weight.shape[0], *x.shape[2:]
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Returns the gradients of x, weight and bias, for graphs that were traced through the operator."""
    x, weight = ctx.saved_tensors
    geometry = [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1
    return torch.ops.aten.convolution_backward(grad, x, weight, *geometry, [True, True, ctx.has_bias])


_conv3x3.register_autograd(_backward, setup_context=_setup_context)
