"""Bias, addition, LeakyReLU and pixel_shuffle in one kernel, on a GPU, and as the same text on the CPU."""

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from cuda_runner import SCHEDULES, Runner, build
from vsedvr.ops import cuda
from vsedvr.ops.bias_act import DTYPES, bias_act, bias_act_cuda, bias_act_shuffle_cuda, runs_bias_act

LAST = torch.channels_last
KERNELS = [name for names in cuda.KERNELS.values() for name in names if name.startswith("bias_act")]
SLOPES = (1.0, 0.1, 0.0)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return build(tmp_path_factory.mktemp("bias_act"), KERNELS)


@pytest.fixture(params=["runner", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A GPU, or the CPU with the operators that a GPU has."""
    if request.param == "gpu":
        return torch.device("cuda", 0)
    runner: Runner = request.getfixturevalue("runner")
    monkeypatch.setattr(cuda, "launch", runner.launch)
    for name, function in (("bias_act_", bias_act_cuda), ("bias_act_shuffle", bias_act_shuffle_cuda)):
        monkeypatch.setattr(torch.ops.vsedvr, name, function, raising=False)
    return torch.device("cpu")


def picture(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=LAST)


def one_after_the_other(x: Tensor, bias: Tensor | None, slope: float, add: Tensor | None, shuffle: bool = False) -> Tensor:
    """By PyTorch's operators, in float32."""
    out = x.float() if bias is None else x.float() + bias.float()[:, None, None]
    out = F.pixel_shuffle(out, 2) if shuffle else out
    out = out if add is None else out + add.float()
    return F.relu(out) if slope == 0 else F.leaky_relu(out, slope)


SHAPES = [
    (1, 64, 5, 7),
    (3, 128, 4, 4),
    (2, 3, 9, 11),
    (1, 1, 1, 1),
    (1, 5, 1, 3),
    (2, 12, 3, 5),
    (1, 216, 2, 3),
    (1, 8, 33, 65),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_add", [True, False])
def test_equals_pytorchs_operators(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], has_bias: bool, has_add: bool
) -> None:
    """Bit for bit in float32; in 16-bit types bit for bit what float32 gives, rounded once."""
    x, add = (picture(*shape, dtype=dtype) for _ in range(2))
    bias = torch.randn(shape[1]).to(dtype)
    for slope in SLOPES:
        expected = one_after_the_other(x, bias if has_bias else None, slope, add if has_add else None).to(dtype)
        mine, its_bias, added = (t.to(device) for t in (x.clone(memory_format=LAST), bias, add))
        out = bias_act(mine, its_bias if has_bias else None, slope, added if has_add else None)
        assert out is mine, "in place"
        assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 256, 3, 5), (2, 32, 4, 1), (1, 12, 3, 3), (2, 4, 1, 5), (1, 40, 2, 2), (3, 64, 7, 9)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_with_pixel_shuffle(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], has_bias: bool) -> None:
    x, bias = picture(*shape, dtype=dtype), torch.randn(shape[1]).to(dtype) if has_bias else None
    for slope in SLOPES:
        expected = one_after_the_other(x, bias, slope, None, shuffle=True).to(dtype)
        out = bias_act(x.to(device), None if bias is None else bias.to(device), slope, shuffle=True)
        assert out.is_contiguous(memory_format=LAST)
        assert torch.equal(out.cpu(), expected)


def test_what_is_not_finite_stays_so(device: torch.device) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([nan, inf, -inf, 3e38, -3e38, 0.0, -0.0, 1.0]).view(1, 8, 1, 1).to(device)
    for slope in SLOPES:
        out, expected = bias_act(x.clone(), None, slope), one_after_the_other(x, None, slope, None)
        assert torch.equal(out.nan_to_num(nan=7), expected.nan_to_num(nan=7))
        assert out[0, 0].isnan().all()
    huge = torch.full((1, 8, 1, 1), 6e4).half().to(device)
    assert bias_act(huge.clone(), huge[0, :, 0, 0]).isinf().all(), "as the sum in float16 is"


def test_tensors_in_other_layouts_types_and_places(device: torch.device) -> None:
    """They are copied, as the last rows of a picture that starts in the middle of 16 bytes."""
    x, bias, add = picture(1, 3, 6, 5).half(), torch.randn(3), picture(1, 3, 5, 5)
    rows = x[:, :, 1:]
    expected = one_after_the_other(rows, bias.half(), 0.1, add.half()).half()
    for layout in (torch.contiguous_format, LAST):
        given = x.contiguous(memory_format=layout).to(device)[:, :, 1:]
        assert torch.equal(bias_act(given, bias.to(device), 0.1, add.to(device)).cpu(), expected)


def test_batch_of_none(device: torch.device) -> None:
    x = torch.zeros(0, 8, 3, 4, device=device)
    assert bias_act(x, None).shape == (0, 8, 3, 4)
    assert bias_act(x, None, shuffle=True).shape == (0, 2, 6, 8)


def test_what_does_not_belong_together(device: torch.device) -> None:
    x = picture(1, 8, 3, 4).to(device)
    with pytest.raises(ValueError, match=r"bias must have the shape \(8,\), got \(4,\)"):
        bias_act(x, torch.zeros(4, device=device))
    with pytest.raises(ValueError, match=r"add must have the shape \(1, 8, 3, 4\), got \(1, 8, 3, 5\)"):
        bias_act(x, None, add=torch.zeros(1, 8, 3, 5, device=device))
    with pytest.raises(ValueError, match="with shuffle"):
        bias_act(x, None, add=x, shuffle=True)
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        bias_act(torch.zeros(1, 6, 2, 2, device=device), None, shuffle=True)


def test_pictures_that_32_bits_cannot_number() -> None:
    """Without memory: such a tensor has one value, which all others stand for."""
    value = torch.zeros(1)
    with pytest.raises(ValueError, match="restore in tiles"):
        bias_act_cuda(value.expand(1, 1, 1 << 16, 1 << 15), None, None, 1)
    with pytest.raises(ValueError, match="restore in tiles"):
        bias_act_cuda(value.expand(1, 32, 1 << 15, 1 << 14), None, None, 1)
    with pytest.raises(ValueError, match="restore in tiles"):
        bias_act_shuffle_cuda(value.expand(1, 64, 1 << 15, 1 << 15), None, 1)


def test_results_do_not_depend_on_the_schedule(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "launch", runner.launch)
    outs = []
    for runner.schedule in SCHEDULES:
        torch.manual_seed(0)
        x = picture(2, 12, 7, 9)
        bias_act_cuda(x, torch.randn(12), picture(2, 12, 7, 9), 0.1)
        outs.append(x)
    assert all(torch.equal(out, outs[0]) for out in outs)


def test_only_a_gpu_with_the_kernels_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [True]
    monkeypatch.setattr(cuda, "is_available", lambda device: there[0])
    with FakeTensorMode(), torch.device("cuda"):
        x = torch.empty(1, 8, 2, 2)
        assert not runs_bias_act(x), "gradients may be wanted"
        with torch.no_grad():
            assert runs_bias_act(x)
            assert not runs_bias_act(x.double())
            assert not runs_bias_act(torch.empty(1, 8, 2, 2, device="cpu"))
            there[0] = False
            assert not runs_bias_act(x)
