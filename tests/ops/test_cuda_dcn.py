"""The GPU kernels, run on a GPU if there is one, and always on the CPU from the same source text (tests/cuda_on_cpu)."""

from functools import partial

import pytest
import torch
from torch import Tensor

from cuda_runner import Runner
from dcn_kernels import (
    SHAPES,
    TOLERANCE,
    TYPES,
    RunAll,
    Shape,
    Tensors,
    assert_close,
    expected,
    forward,
    inputs,
    typed,
)
from vsedvr.ops import cuda, cuda_dcn


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "offset_dtype"), TYPES)
class TestForward:
    @pytest.mark.parametrize(("reach", "slope"), [(0, 1.0), (3, 0.1), (200, 0.1)])
    def test_equals_torchvision_in_float64(
        self, run_all: RunAll, shape: Shape, dtype: torch.dtype, offset_dtype: torch.dtype, reach: float, slope: float
    ) -> None:
        args = typed(inputs(*shape, reach=reach), dtype, offset_dtype)
        first, *others = (out for (out,) in run_all(forward(slope), *args))
        assert first.dtype == dtype
        assert first.is_contiguous(memory_format=torch.channels_last)
        assert_close(first, expected(*args, slope), TOLERANCE[dtype])
        assert all(torch.equal(first, other) for other in others)

    def test_nan_gives_nan_there_and_huge_offsets_zero(
        self, run_all: RunAll, shape: Shape, dtype: torch.dtype, offset_dtype: torch.dtype
    ) -> None:
        """The picture has four pixels, one of which has a NaN offset."""
        x, conv_offset_output, weight, bias = inputs(1, shape[1], shape[2], shape[3], 2, 2, shape[6])
        offsets = conv_offset_output[:, : conv_offset_output.shape[1] // 3 * 2]
        bias.zero_()
        for huge in (6e4, -6e4, float("inf"), float("-inf")):
            offsets[:] = huge
            args = typed((x, conv_offset_output, weight, bias), dtype, offset_dtype)
            for (out,) in run_all(forward(0.1), *args):
                assert (out == 0).all()
        for channel in (0, 1, -1):
            offsets[:] = 0
            offsets[0, channel, 1, 0] = float("nan")
            args = typed((x, conv_offset_output, weight, bias), dtype, offset_dtype)
            for (out,) in run_all(forward(0.1), *args):
                assert out[0, :, 1, 0].isnan().all()
                assert out.isnan().sum() == out.shape[1]


@pytest.mark.parametrize(("dtype", "offset_dtype"), TYPES)
@pytest.mark.parametrize("groups", [8, 4])
def test_offsets_on_the_border_and_on_whole_numbers(
    run_all: RunAll, dtype: torch.dtype, offset_dtype: torch.dtype, groups: int
) -> None:
    x, conv_offset_output, weight, bias = inputs(1, 64, 64, groups, 6, 7, 3)
    for place in (-1.0, -1 + 2**-7, -1 - 2**-7, 0.0, 5.0, 6.0, 7.0, 7 - 2**-7):
        conv_offset_output[:, : 18 * groups] = place - torch.randint(0, 6, (1, 18 * groups, 6, 7))
        args = typed((x, conv_offset_output, weight, bias), dtype, offset_dtype)
        for (out,) in run_all(forward(1.0), *args):
            assert_close(out, expected(*args, 1.0), TOLERANCE[dtype])


def test_positions_are_float32_in_every_type(run_all: RunAll) -> None:
    """The position is a quarter of a pixel beside 1500, which float16 cannot represent."""
    x = torch.arange(2048.0).remainder(16).expand(1, 32, 3, -1).half().contiguous()
    conv_offset_output = torch.zeros(1, 108, 3, 2048).half()
    conv_offset_output[:, 1:72:2] = 0.25
    conv_offset_output[:, 72:] = 100
    weight = torch.zeros(32, 32, 3, 3).half()
    weight[:, :, 1, 1] = torch.eye(32)
    for (out,) in run_all(forward(1.0), x, conv_offset_output, weight, torch.zeros(32).half()):
        assert (out[..., 1500] == 1500 % 16 + 0.25).all()


def test_layouts_change_nothing_and_none_is_needed(run_all: RunAll) -> None:
    args = typed(inputs(2, 64, 64, 8, 9, 11, 3), torch.float16, torch.float16)
    ((first,), *_) = run_all(forward(0.1), *args)
    for change in (
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t,
        lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),  # not at a multiple of 16 bytes
    ):
        changed = partial(lambda change, *tensors: forward(0.1)(*map(change, tensors)), change)
        assert all(torch.equal(out, first) for (out,) in run_all(changed, *args))
    last = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in args]
    assert all(cuda_dcn._ready(t, t.dtype) is t for t in last), "a network in channels_last copies nothing"


@pytest.mark.parametrize(("dtype", "offset_dtype"), TYPES)
@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[4], SHAPES[7], SHAPES[8]])
def test_the_bias_of_the_offset_convolution(
    run_all: RunAll, shape: Shape, dtype: torch.dtype, offset_dtype: torch.dtype
) -> None:
    """In float32 it gives what the sum gives, bit for bit; in float16 the sum is not rounded."""
    x, predicted, weight, bias = typed(inputs(*shape), dtype, offset_dtype)
    offset_bias = (3 * torch.randn(predicted.shape[1])).to(offset_dtype)
    both = predicted.double() + offset_bias.double()[:, None, None]

    def run(*tensors: Tensor) -> Tensors:
        x, predicted, weight, bias, offset_bias = tensors
        return (cuda_dcn.forward(x, predicted, weight, bias, 0.1, offset_bias),)

    given = x, predicted, weight, bias
    for (out,) in run_all(run, *given, offset_bias):
        assert_close(out, expected(x, both, weight, bias, 0.1), TOLERANCE[dtype])
        if offset_dtype == torch.float32:
            added = x, predicted + offset_bias[:, None, None], weight, bias
            ((sum_first,), *_) = run_all(forward(0.1), *added)
            assert torch.equal(out, sum_first)


def test_the_bias_of_the_offset_convolution_must_fit(run_all: RunAll) -> None:
    x, predicted, weight, bias = inputs(1, 16, 16, 2, 3, 4, 3)
    with pytest.raises(ValueError, match=r"offset_bias must have the shape \(54,\), got \(18,\)"):
        cuda_dcn.forward(x, predicted, weight, bias, 0.1, torch.zeros(18))


@pytest.mark.parametrize("kind", ["registers", "half2"])
@pytest.mark.parametrize("shape", [(1, 64, 64, 8, 8, 16, 3), SHAPES[2], (1, 64, 64, 8, 1, 17, 3), (3, 32, 32, 4, 13, 33, 3)])
class TestSamplesInRegisters:
    """The kernels that nothing chooses by default."""

    @pytest.mark.parametrize(("reach", "slope"), [(0, 1.0), (3, 0.1), (200, 0.1)])
    def test_equal_torchvision_as_closely(
        self, run_all: RunAll, monkeypatch: pytest.MonkeyPatch, kind: str, shape: Shape, reach: float, slope: float
    ) -> None:
        x, predicted, weight, bias = args = typed(inputs(*shape, reach=reach), torch.float16, torch.float16)
        monkeypatch.setattr(cuda_dcn, "OPERATOR", kind)
        first, *others = (out for (out,) in run_all(forward(slope), *args))
        if run_all.runner:
            assert run_all.runner.launched[-1] == f"{kind}_float16_float16_{shape[1]}_{shape[3]}"
        assert_close(first, expected(*args, slope), TOLERANCE[torch.float16])
        assert all(torch.equal(first, other) for other in others)
        offset_bias = torch.randn(predicted.shape[1]).half()
        both = predicted.double() + offset_bias.double()[:, None, None]

        def run(*given: Tensor) -> Tensors:
            x, predicted, weight, bias, offset_bias = given
            return (cuda_dcn.forward(x, predicted, weight, bias, slope, offset_bias),)

        for (out,) in run_all(run, *args, offset_bias):
            assert_close(out, expected(x, both, weight, bias, slope), TOLERANCE[torch.float16])

    def test_nan_gives_nan_there_and_huge_offsets_zero(
        self, run_all: RunAll, monkeypatch: pytest.MonkeyPatch, kind: str, shape: Shape
    ) -> None:
        monkeypatch.setattr(cuda_dcn, "OPERATOR", kind)
        x, predicted, weight, bias = typed(inputs(*shape), torch.float16, torch.float16)
        bias.zero_()
        offsets = predicted[:, : 18 * shape[3]]
        offsets[:] = float("inf")
        assert all((out == 0).all() for (out,) in run_all(forward(0.1), x, predicted, weight, bias))
        offsets[:] = 0
        offsets[0, 1, -1, 3] = float("nan")
        for (out,) in run_all(forward(0.1), x, predicted, weight, bias):
            assert out[0, :, -1, 3].isnan().all()
            assert out.isnan().sum() == out.shape[1]


def test_other_shapes_types_and_gpus_keep_the_default(run_all: RunAll, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda_dcn.OPERATOR == "mma", "until a card has shown another one to be faster"
    monkeypatch.setattr(cuda_dcn, "OPERATOR", "registers")
    cases = [
        ((1, 128, 128, 8, 4, 5, 3), torch.float16, torch.float16),
        ((1, 64, 64, 8, 4, 5, 3), torch.float16, torch.float32),
        ((1, 64, 64, 8, 4, 5, 3), torch.float32, torch.float32),
        ((1, 32, 32, 4, 4, 5, 5), torch.float16, torch.float16),
        ((1, 32, 16, 4, 4, 5, 3), torch.float16, torch.float16),
    ]
    for shape, dtype, offset_dtype in cases:
        args = typed(inputs(*shape), dtype, offset_dtype)
        for (out,) in run_all(forward(0.1), *args):
            assert_close(out, expected(*args, 0.1), TOLERANCE[dtype])
    if run_all.runner:
        assert not set(run_all.runner.launched[-3 * len(cases) :]) & set(cuda.CANDIDATES)
        args = typed(inputs(*SHAPES[2]), torch.float16, torch.float16)
        monkeypatch.setattr(cuda, "capability", lambda device: (7, 5))
        forward(0.1)(*args)
        assert run_all.runner.launched[-1] == "mma_float16_float16_64_8"


def test_batch_of_none(run_all: RunAll) -> None:
    x, conv_offset_output, weight, bias = inputs(0, 64, 64, 8, 5, 6, 3)
    for (out,) in run_all(forward(0.1), x, conv_offset_output, weight, bias):
        assert out.shape == (0, 64, 5, 6)
    grad = torch.zeros(0, 64, 5, 6)
    for grads in run_all(cuda_dcn.backward, grad, x, conv_offset_output, weight, bias):
        assert [g.shape for g in grads] == [t.shape for t in (x, conv_offset_output, weight, bias)]


@pytest.mark.parametrize(
    ("capability", "dtype", "kernel"),
    [
        ((6, 0), torch.float16, "any_float16_float16"),
        ((7, 0), torch.float16, "any_float16_float16"),
        ((7, 5), torch.float16, "mma_float16_float16_64_8"),
        ((7, 5), torch.bfloat16, "any_bfloat16_float32"),
        ((8, 0), torch.bfloat16, "mma_bfloat16_float32_64_8"),
        ((9, 0), torch.float32, "any_float32_float32"),
    ],
)
def test_the_kernel_is_one_that_the_gpu_has(
    all_kernels: Runner, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, kernel: str
) -> None:
    monkeypatch.setattr(cuda, "launch", all_kernels.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: capability)
    args = typed(inputs(1, 64, 64, 8, 4, 4, 3), dtype, torch.float16 if dtype == torch.float16 else torch.float32)
    assert_close(forward(0.1)(*args)[0], expected(*args, 0.1), TOLERANCE[dtype])
    assert all_kernels.launched[-1] == kernel
    assert kernel in [name for needed, names in cuda.KERNELS.items() if needed <= capability for name in names]
