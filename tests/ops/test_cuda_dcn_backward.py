"""The GPU kernels for gradients, run as those of test_cuda_dcn.py."""

import pytest
import torch
from torch import Tensor

from dcn_kernels import (
    GRADIENT_TOLERANCE,
    SHAPES,
    TOLERANCE,
    RunAll,
    Shape,
    Tensors,
    assert_close,
    differentiable,
    expected,
    inputs,
    typed,
)
from vsedvr.ops import columns, cuda, cuda_dcn
from vsedvr.ops.dcn import _dcn_backward_cuda, _dcn_cuda


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reach", [0.3, 20])
class TestBackward:
    def test_gradients_equal_torchvisions_in_float64(
        self, run_all: RunAll, monkeypatch: pytest.MonkeyPatch, shape: Shape, dtype: torch.dtype, reach: float
    ) -> None:
        args = typed(inputs(*shape, reach=reach), dtype, torch.float32)
        doubles = differentiable(args)
        out = expected(*doubles, 1.0)
        grad = torch.randn(out.shape).to(dtype)
        exact = torch.autograd.grad(out, doubles, grad.double())
        monkeypatch.setattr(columns, "COLUMN_BYTES", 40_000)  # so that most shapes need several pieces
        first, *others = run_all(cuda_dcn.backward, grad, *args)
        for actual, right, tensor in zip(first, exact, args, strict=True):
            assert actual.dtype == tensor.dtype
            assert_close(actual, right, GRADIENT_TOLERANCE[dtype])
        for other in others:
            assert_close(other[0], exact[0], GRADIENT_TOLERANCE[dtype])  # added up in another order
            assert all(torch.equal(a, b) for a, b in zip(first[1:], other[1:], strict=True))


def test_offset_gradients_on_grid_lines_are_torchvisions(run_all: RunAll) -> None:
    """The gradient is that of the cell below and to the right: at -1 that of the first row, and 0 outside of the picture."""
    x, conv_offset_output, weight, bias = inputs(1, 8, 8, 1, 6, 7, 3)
    conv_offset_output[:, :18] = torch.randint(-9, 10, (1, 18, 6, 7))
    args = differentiable((x, conv_offset_output, weight, bias))
    out = expected(*args, 1.0)
    grad = torch.randn(out.shape)
    exact = torch.autograd.grad(out, args, grad.double())
    for actual in run_all(cuda_dcn.backward, grad, x, conv_offset_output, weight, bias):
        assert_close(actual[1], exact[1], GRADIENT_TOLERANCE[torch.float32])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e30])
def test_bad_offsets_spoil_only_their_own_gradients(run_all: RunAll, bad: float) -> None:
    x, conv_offset_output, weight, bias = inputs(1, 16, 16, 2, 5, 6, 3)
    conv_offset_output[0, 4, 2, 3] = bad
    for actual in run_all(cuda_dcn.backward, torch.randn(1, 16, 5, 6), x, conv_offset_output, weight, bias):
        spoilt = actual[1].isnan().sum()
        assert spoilt == 0 if bad == bad else spoilt <= 3
        assert actual[1][..., :2, :].isfinite().all()


@pytest.mark.parametrize("slope", [0.1, 0.0, 1.0])
def test_the_operators_of_cuda_and_its_gradients(run_all: RunAll, monkeypatch: pytest.MonkeyPatch, slope: float) -> None:
    """Calls the functions to which torch dispatches tensors on a GPU."""
    monkeypatch.setattr(cuda, "is_available", lambda device: True)
    args = inputs(1, 16, 16, 2, 5, 6, 3)
    doubles = differentiable(args)
    exact = expected(*doubles, slope)
    grad = torch.randn(exact.shape)
    exact_gradients = torch.autograd.grad(exact, doubles, grad.double())

    def run(grad: Tensor, x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor) -> Tensors:
        out = _dcn_cuda(x, conv_offset_output, weight, bias, slope)
        return out, *_dcn_backward_cuda(grad, x, conv_offset_output, weight, bias, out, slope)

    for results in run_all(run, grad, *args):
        for actual, right in zip(results, (exact, *exact_gradients), strict=True):
            assert_close(actual, right, GRADIENT_TOLERANCE[torch.float32])


def test_torchs_deterministic_mode_hears_of_the_atomics(run_all: RunAll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda device: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or the products have a warning of their own
    args = [tensor.to(run_all.device) for tensor in (torch.randn(1, 8, 5, 6), *inputs(1, 8, 8, 1, 5, 6, 3))]
    out = torch.randn(1, 8, 5, 6, device=run_all.device)
    try:
        torch.use_deterministic_algorithms(True)
        with pytest.raises(RuntimeError, match="vsedvr::dcn_backward on CUDA"):
            _dcn_backward_cuda(*args, out, 0.1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        with pytest.warns(UserWarning, match="vsedvr::dcn_backward on CUDA"):
            _dcn_backward_cuda(*args, out, 0.1)
    finally:
        torch.use_deterministic_algorithms(False)
    _dcn_backward_cuda(*args, out, 0.1)
