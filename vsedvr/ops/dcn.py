"""EDVR's deformable convolution as the torch operator `vsedvr::dcn`, with its gradients.

It uses the compiled kernels if there are some for the device (native.py for CPUs, cuda_dcn.py for GPUs). Otherwise it is
composed of PyTorch's and torchvision's operators.
"""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import cuda, cuda_dcn, native
from vsedvr.ops.bias_act import runs_bias_act
from vsedvr.ops.checks import check_dcn
from vsedvr.ops.deform_conv import deform_conv2d

__all__ = ["dcn"]


def dcn(
    x: Tensor,
    conv_offset_output: Tensor,
    weight: Tensor,
    bias: Tensor,
    slope: float,
    offset_bias: Tensor | None = None,
) -> Tensor:
    """Computes a modulated deformable convolution (DCNv2) with the sigmoid of its mask, its bias and the LeakyReLU after it.

    Source: Zhu et al., "Deformable ConvNets v2", CVPR 2019, eq. 1; channels in torchvision's order.

    Args:
        x: features to sample, (b, c, h, w).
        conv_offset_output: raw output of the convolution that predicts offsets and mask logits,
            (b, 3 * deformable_groups * K, h, w) with K taps: first the offsets as (dy, dx) pairs in pixels, then the
            logits. float16, float32 or float64; never bfloat16, whose steps are 1/16 pixel for offsets of 8 pixels.
        weight: (out_channels, c, kernel, kernel) with an odd kernel; stride 1, padding kernel // 2.
        bias: (out_channels,).
        slope: negative slope of the LeakyReLU; 1 for none.
        offset_bias: the bias of the convolution that predicts offsets, (3 * deformable_groups * K,), where it is not in
            conv_offset_output yet; else None. On a GPU it is added while the operator reads, in float32.

    Returns:
        (b, out_channels, h, w) in the type of x, channels_last. Positions and sums are computed in float32 or better.

    Raises:
        ValueError: if the tensors do not match; the message has the expected and the given shape.
    """
    tensors = (x, conv_offset_output, weight, bias)
    if offset_bias is not None:
        if runs_bias_act(x):
            fused: Tensor = torch.ops.vsedvr.dcn(*tensors, slope, offset_bias)
            return fused
        tensors = (x, conv_offset_output + offset_bias[:, None, None], weight, bias)
    wants_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if wants_grad and not x.is_cuda and not _has_native(x):  # torch's own gradients run on every core, torchvision's on one
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


def _has_native(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in native.DCN and native.is_available()


@torch.library.custom_op("vsedvr::dcn", mutates_args=())
def _dcn(
    x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, offset_bias: Tensor | None = None
) -> Tensor:
    """`offset_bias` is for calls without gradients; it has none."""
    if offset_bias is not None:
        conv_offset_output = conv_offset_output + offset_bias[:, None, None]
    if not _has_native(x):
        return _compose(x, conv_offset_output, weight, bias, slope)
    return native.dcn(x, conv_offset_output, weight, bias, slope)


@_dcn.register_kernel("cuda")
def _dcn_cuda(
    x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, offset_bias: Tensor | None = None
) -> Tensor:
    if x.dtype in cuda_dcn.DTYPES and cuda.is_available(x.device):
        return cuda_dcn.forward(x, conv_offset_output, weight, bias, slope, offset_bias)
    if offset_bias is not None:
        conv_offset_output = conv_offset_output + offset_bias[:, None, None]
    return _compose(x, conv_offset_output, weight, bias, slope)


@_dcn.register_fake
def _(
    x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float, offset_bias: Tensor | None = None
) -> Tensor:
    shape = x.shape[0], weight.shape[0], *x.shape[2:]
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _backward_with_torchvision(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of x, conv_offset_output, weight and bias, computed with torchvision's operator."""
    import torchvision  # noqa: F401 (registers the operator)

    check_dcn(x, conv_offset_output, weight, bias)
    dtype = torch.promote_types(x.dtype, torch.float32)
    offset, mask = _split(conv_offset_output.to(dtype))
    before = _before_leaky_relu(grad, out, slope)
    padding, groups = weight.shape[-1] // 2, mask.shape[1] // weight.shape[2] ** 2
    geometry = 1, 1, padding, padding, 1, 1, 1, groups, True
    tensors = [tensor.to(dtype).contiguous() for tensor in (before, x, weight, offset, mask, bias)]
    grad_x, grad_weight, grad_offset, grad_mask, grad_bias = torch.ops.torchvision._deform_conv2d_backward(*tensors, *geometry)
    grad_conv_offset = torch.cat([grad_offset, grad_mask * mask * (1 - mask)], 1)
    return (
        grad_x.to(x.dtype).contiguous(memory_format=torch.channels_last),
        grad_conv_offset.to(conv_offset_output.dtype).contiguous(memory_format=torch.channels_last),
        grad_weight.to(weight.dtype).contiguous(),
        grad_bias.to(bias.dtype),
    )


@torch.library.custom_op("vsedvr::dcn_backward", mutates_args=())
def _dcn_backward(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if not _has_native(x):
        return _backward_with_torchvision(grad, x, conv_offset_output, weight, bias, out, slope)
    before = _before_leaky_relu(grad.float(), out, slope)
    grad_x, grad_conv_offset, grad_weight = native.dcn_backward(before, x, conv_offset_output, weight)
    return (
        grad_x.to(x.dtype),
        grad_conv_offset.to(conv_offset_output.dtype),
        grad_weight.to(weight.dtype).contiguous(),
        before.sum((0, 2, 3)).to(bias.dtype),
    )


@_dcn_backward.register_kernel("cuda")
def _dcn_backward_cuda(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _alert_not_deterministic()
    if x.dtype not in cuda_dcn.DTYPES or not cuda.is_available(x.device):
        return _backward_with_torchvision(grad, x, conv_offset_output, weight, bias, out, slope)
    return cuda_dcn.backward(_before_leaky_relu(grad, out, slope), x, conv_offset_output, weight, bias)


@_dcn_backward.register_fake
def _(
    grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, out: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_conv_offset = (torch.empty_like(t, memory_format=torch.channels_last) for t in (x, conv_offset_output))
    grad_weight, grad_bias = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (weight, bias))
    return grad_x, grad_conv_offset, grad_weight, grad_bias


def _before_leaky_relu(grad: Tensor, out: Tensor, slope: float) -> Tensor:
    """Returns the gradient of the LeakyReLU's input, from that of its output."""
    return torch.where(out > 0, grad, grad * slope)


def _alert_not_deterministic() -> None:
    """Raises or warns if the user called torch.use_deterministic_algorithms, as PyTorch's own operators do."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        "vsedvr::dcn_backward on CUDA adds to the gradient of x in no fixed order, and "
        "torch.use_deterministic_algorithms(True) is set; with warn_only=True this is a warning"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=2)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, float, Tensor | None], output: Tensor) -> None:
    *tensors, ctx.slope, _ = inputs
    ctx.save_for_backward(*tensors, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_dcn_backward(grad, *ctx.saved_tensors, ctx.slope), None, None


_dcn.register_autograd(_backward, setup_context=_setup_context)
