"""Checks of tensors before their addresses are given to native code."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from vsedvr.ops import cuda, cuda_dcn, dcn, native
from vsedvr.ops.checks import check

needs_kernel = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
CPU = torch.device("cpu")


def dcn_inputs(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    shapes = {"x": (1, 4, 5, 6), "conv_offset_output": (1, 27, 5, 6), "weight": (6, 4, 3, 3), "bias": (6,)}
    return {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": torch.float64}, r"picture must be of type torch.float64, got torch.float32"),
        ({"shape": (1, 4, 5, 7)}, r"picture must have the shape \(1, 4, 5, 7\), got \(1, 4, 5, 6\)"),
        ({"device": torch.device("meta")}, "picture must be on the device meta, got cpu"),
        ({"layout": torch.channels_last}, r"picture must lie in memory as torch.channels_last, got the strides"),
    ],
)
def test_a_tensor_that_is_something_else(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"shape": (1, 4, 5, 6), "dtype": torch.float32, "device": CPU}
    picture = torch.zeros(1, 4, 5, 6)
    check("picture", picture, **right)
    with pytest.raises(ValueError, match=message):
        check("picture", picture, **{**right, **change})


def call(module: Any, backward: bool, tensors: dict[str, Tensor]) -> None:
    x, conv_offset_output, weight, bias = tensors.values()
    if not backward:
        function = module.dcn if module is native else module.forward
        function(x, conv_offset_output, weight, bias, 0.1)
        return
    grad = torch.zeros(1, 6, 5, 6, dtype=x.dtype)
    if module is native:
        native.dcn_backward(grad, x, conv_offset_output, weight)
    else:
        cuda_dcn.backward(grad, x, conv_offset_output, weight, bias)


@pytest.mark.parametrize("module", [pytest.param(native, marks=needs_kernel), cuda_dcn], ids=["native", "cuda_dcn"])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("x", torch.zeros(1, 4, 5, 7), r"conv_offset_output must have the shape \(1, 27, 5, 7\)"),
        ("x", torch.zeros(4, 5, 6), "x must have 4 dimensions"),
        ("x", torch.zeros(1, 4, 5, 6, device="meta"), "all tensors must be on one device, got cpu, meta"),
        ("conv_offset_output", torch.zeros(1, 26, 5, 6), "conv_offset_output has 26 channels"),
        ("conv_offset_output", torch.zeros(2, 27, 5, 6), r"conv_offset_output must have the shape \(1, 27, 5, 6\)"),
        ("weight", torch.zeros(6, 4, 2, 3), r"weight must have the shape \(6, 4, 3, 3\), got \(6, 4, 2, 3\)"),
        ("weight", torch.zeros(6, 4, 0, 0), "conv_offset_output has 27 channels"),
        ("weight", torch.zeros(6, 4, 3, 3, device="meta"), "all tensors must be on one device, got cpu, meta"),
    ],
)
def test_the_wrappers_refuse(
    monkeypatch: pytest.MonkeyPatch, module: Any, backward: bool, name: str, tensor: Tensor, message: str
) -> None:
    monkeypatch.setattr(cuda, "launch", lambda *args: pytest.fail("a kernel was started"))
    with pytest.raises(ValueError, match=message):
        call(module, backward, {**dcn_inputs(), name: tensor})


@pytest.mark.parametrize("module", [pytest.param(native, marks=needs_kernel), cuda_dcn], ids=["native", "cuda_dcn"])
def test_a_type_without_a_kernel(module: Any) -> None:
    with pytest.raises(ValueError, match=r"x must be of type .*, got torch\.float64"):
        call(module, False, dcn_inputs(torch.float64))


@needs_kernel
@pytest.mark.parametrize("module", [native, cuda_dcn])
def test_gradients_of_another_size(module: Any) -> None:
    x, conv_offset_output, weight, bias = dcn_inputs().values()
    args = (conv_offset_output, weight) if module is native else (conv_offset_output, weight, bias)
    backward = native.dcn_backward if module is native else cuda_dcn.backward
    with pytest.raises(ValueError, match=r"grad must have the shape \(1, 6, 5, 6\), got \(1, 6, 5, 5\)"):
        backward(torch.zeros(1, 6, 5, 5), x, *args)


@needs_kernel
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(1, 16, 5, 6).half()}, "x must be of type torch.float32, got torch.float16"),
        ({"x": torch.zeros(1, 15, 5, 6)}, r"weight must have the shape \(20, 15, 3, 3\), got \(20, 16, 3, 3\)"),
        ({"x": torch.zeros(16, 5, 6)}, r"x must have the shape \(b, c, h, w\), got \(16, 5, 6\)"),
        ({"x": torch.zeros(1, 32, 5, 6)}, r"weight must have the shape \(20, 32, 3, 3\)"),
        ({"weight": torch.zeros(20, 16, 3, 3).double()}, "weight must be of type torch.float32"),
        ({"weight": torch.zeros(20, 16, 3, 3, device="meta")}, "weight must be on the device cpu, got meta"),
        ({"bias": torch.zeros(19)}, r"bias must have the shape \(20,\), got \(19,\)"),
        ({"isa": 3}, "isa must be within"),
    ],
)
def test_conv3x3_refuses(change: dict[str, Any], message: str) -> None:
    args = {"x": torch.zeros(1, 16, 5, 6), "weight": torch.zeros(20, 16, 3, 3), "bias": torch.zeros(20), **change}
    with pytest.raises(ValueError, match=message):
        native.conv3x3(**args)


@needs_kernel
def test_a_picture_with_more_pixels_than_32_bits_count() -> None:
    """The tensor has a single value that is expanded, so it takes no memory."""
    x, conv_offset_output = (torch.zeros(1, 1, 1, 1).expand(1, c, 65536, 32768) for c in (4, 27))
    with pytest.raises(ValueError, match=r"height \* width of x must be below 2\*\*31, got 65536 \* 32768"):
        dcn(x, conv_offset_output, torch.zeros(6, 4, 3, 3), torch.zeros(6), 0.1)


def test_a_kernel_for_gpus_gets_tensors_of_one_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", object())
    with pytest.raises(ValueError, match="the tensors of a kernel must be on one GPU, got cpu"):
        cuda.launch("any_float32_float32", (1,), 0, torch.zeros(3), 7)


@needs_kernel
def test_gradients_inside_of_autocast_are_the_same() -> None:
    """Inside of autocast a product of float32 becomes bfloat16, which the kernel would read as float32."""
    torch.manual_seed(0)
    shapes = (2, 16, 9, 11), (2, 54, 9, 11), (8, 16, 3, 3), (8,)
    args = [torch.randn(shape).requires_grad_() for shape in shapes]
    x, conv_offset_output, weight, bias = args
    outside = torch.autograd.grad(dcn(x, conv_offset_output, weight, bias, 0.1).sum(), args)
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(dcn(x, conv_offset_output, weight, bias, 0.1).sum(), args)
    assert all(torch.equal(one, other) for one, other in zip(inside, outside, strict=True))
