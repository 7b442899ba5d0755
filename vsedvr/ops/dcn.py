"""The one operator that the network calls, as a torch operator: `vsedvr::dcn`.

It runs the compiled kernel where there is one, and composes torch's own operators elsewhere and where a gradient is wanted.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import native
from vsedvr.ops.deform_conv import deform_conv2d

__all__ = ["dcn"]


def dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Modulated deformable convolution with all that stands around it: sigmoid, sampling, product, bias and LeakyReLU.

    Args:
        x: features to sample, (b, c, h, w).
        conv_offset_output: raw output of the convolution that predicts offsets and mask logits,
            (b, 3 * deformable_groups * K, h, w) with K taps: first the offsets as (dy, dx) pairs in pixels, then the
            logits. float16, float32 or float64; never bfloat16, which resolves no more than 1/16 pixel at 8 pixels.
        weight: (out_channels, c, kernel, kernel) with an odd kernel; stride 1, padding kernel // 2.
        bias: (out_channels,).
        slope: negative slope of the LeakyReLU; 1 leaves it out.

    Returns:
        (b, out_channels, h, w) in the type of x, channels_last. Positions and sums are at least float32.

    Raises:
        ValueError: if shapes do not belong together; the message has the shape expected and the one given.
    """
    tensors = (x, conv_offset_output, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _compose(*tensors, slope)
    out: Tensor = torch.ops.vsedvr.dcn(*tensors, slope)
    return out


def _compose(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    offset, mask = _split(conv_offset_output)
    out = deform_conv2d(x, offset, weight, bias, padding=weight.shape[-1] // 2, mask=mask)
    out = out if slope == 1 else F.leaky_relu(out, slope)
    return out.contiguous(memory_format=torch.channels_last)


def _split(conv_offset_output: Tensor) -> tuple[Tensor, Tensor]:
    num_offset = conv_offset_output.shape[1] * 2 // 3
    return conv_offset_output[:, :num_offset], conv_offset_output[:, num_offset:].sigmoid()


@torch.library.custom_op("vsedvr::dcn", mutates_args=())
def _dcn(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    if not native.is_available() or x.device.type != "cpu" or x.dtype not in native.DCN:
        return _compose(x, conv_offset_output, weight, bias, slope)
    _check_shapes(x, conv_offset_output, weight, bias)
    return native.dcn(x, conv_offset_output, weight, bias, slope)


@_dcn.register_fake
def _(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:]).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("vsedvr::dcn_backward", mutates_args=())
def _dcn_backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, conv_offset_output, weight and bias, for graphs that were traced through the operator."""
    import torchvision  # noqa: F401 (registers the operator)

    dtype = torch.promote_types(x.dtype, torch.float32)
    offset, mask = _split(conv_offset_output.to(dtype))
    before = torch.where(out < 0, grad * slope, grad)
    padding, groups = weight.shape[-1] // 2, mask.shape[1] // weight.shape[2] ** 2
    geometry = 1, 1, padding, padding, 1, 1, 1, groups, True
    tensors = [tensor.to(dtype).contiguous() for tensor in (before, x, weight, offset, mask, bias)]
    grad_x, grad_weight, grad_offset, grad_mask, grad_bias = torch.ops.torchvision._deform_conv2d_backward(*tensors, *geometry)
    grad_conv_offset = torch.cat([grad_offset, grad_mask * mask * (1 - mask)], 1)
    grads = grad_x, grad_conv_offset, grad_weight, grad_bias
    g0, g1, g2, g3 = (g.to(t.dtype).contiguous() for g, t in zip(grads, (x, conv_offset_output, weight, bias), strict=True))
    return g0, g1, g2, g3


@_dcn_backward.register_fake
def _(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g0, g1, g2, g3 = (t.new_empty(t.shape) for t in (x, conv_offset_output, weight, bias))
    return g0, g1, g2, g3


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, float], output: Tensor) -> None:
    *tensors, ctx.slope = inputs
    ctx.save_for_backward(*tensors, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_dcn_backward(grad, *ctx.saved_tensors, ctx.slope), None


_dcn.register_autograd(_backward, setup_context=_setup_context)


def _check_shapes(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor) -> None:
    """What keeps the kernel inside its tensors."""
    b, c, h, w = x.shape
    out_channels, _, kernel, _ = weight.shape
    groups = conv_offset_output.shape[1] // (3 * kernel * kernel)
    if not groups or c % groups or kernel % 2 == 0:
        raise ValueError(
            f"conv_offset_output has {conv_offset_output.shape[1]} channels: not 3 * {kernel * kernel} taps * a number of "
            f"groups that divides {c}"
        )
    expected = {
        "conv_offset_output": (conv_offset_output, (b, 3 * groups * kernel * kernel, h, w)),
        "weight": (weight, (out_channels, c, kernel, kernel)),
        "bias": (bias, (out_channels,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {tuple(tensor.shape)}")
