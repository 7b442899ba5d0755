"""The GPU kernels, run on a GPU if there is one, and always on the CPU from the same source text (tests/cuda_on_cpu)."""

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cuda_runner import SCHEDULES, Runner, build, build_program
from vsedvr.ops import columns, cuda, cuda_dcn
from vsedvr.ops.dcn import _dcn_backward_cuda, _dcn_cuda

torchvision_form = pytest.importorskip("torchvision.ops", reason="no torchvision").deform_conv2d

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


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    names = [name for names in cuda.KERNELS.values() for name in names]
    return build(tmp_path_factory.mktemp("kernels"), [*names, *cuda.CANDIDATES])


@pytest.fixture(params=["runner", pytest.param("gpu", marks=pytest.mark.gpu)])
def run_all(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "RunAll":
    if request.param == "gpu":
        return RunAll(torch.device("cuda", 0), None)
    runner: Runner = request.getfixturevalue("runner")
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: (9, 0))
    return RunAll(torch.device("cpu"), runner)


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
    out = torchvision_form(x, torch.cat([o1, o2], 1), weight, bias, padding=padding, mask=mask.sigmoid())
    return F.leaky_relu(out, slope)


def forward(slope: float) -> Callable[..., Tensors]:
    return lambda x, conv_offset_output, weight, bias: (cuda_dcn.forward(x, conv_offset_output, weight, bias, slope),)


def assert_close(actual: Tensor, exact: Tensor, tolerance: float) -> None:
    assert (actual - exact).abs().max() <= tolerance * exact.abs().max()


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
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, kernel: str
) -> None:
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: capability)
    args = typed(inputs(1, 64, 64, 8, 4, 4, 3), dtype, torch.float16 if dtype == torch.float16 else torch.float32)
    assert_close(forward(0.1)(*args)[0], expected(*args, 0.1), TOLERANCE[dtype])
    assert runner.launched[-1] == kernel
    assert kernel in [name for needed, names in cuda.KERNELS.items() if needed <= capability for name in names]


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


MMA, ANY, REGISTERS = "mma_float16_float16_64_8", "any_float32_float32", "registers_float16_float16_64_8"
BUGS = {
    "no barrier": (MMA, "wait_for_copies();\n                __syncthreads();", "wait_for_copies();"),
    "no barrier before the output": (MMA, "threadIdx.x / 32;\n        __syncthreads();", "threadIdx.x / 32;"),
    "no barrier after the product": (ANY, "__syncthreads();\n        }", "}"),
    "no wait for copies": (MMA, "wait_for_copies();", ""),
    "weights once instead of twice": (MMA, "% 2 * C * weight_row", "* 0"),
    "samples once instead of twice": (MMA, "% 2 * pixels * sample_row", "* 0"),
    "shared memory overrun": (MMA, "M::pixels * M::sample_row;", "M::pixels * M::sample_row + 16;"),
    "rows that are not aligned": (MMA, "sample_row + k);", "sample_row + k + 4);"),
    "a barrier for some": (ANY, "SHARED_MEMORY(shared);", "SHARED_MEMORY(shared); if (threadIdx.x < 40) return;"),
    "half a warp": (MMA, "multiply_stage(samples", "if (threadIdx.x % 32 < 16) multiply_stage(samples"),
    "registers: no barrier": (REGISTERS, "__syncthreads();\n            if (step", "if (step"),
    "registers: weights once instead of twice": (REGISTERS, "% 2 * C * step_channels", "* 0"),
    "two operations in a warp": (MMA, "load_matrices(b,", "if (lane) multiply(sums[0][0], b, b, T());\nelse load_matrices(b,"),
}
"""(kernel, original text, text with a bug)."""

MESSAGES = {
    "shared memory overrun": "a write behind the shared memory",
    "rows that are not aligned": "not at a multiple of 16",
    "a barrier for some": "a barrier was reached by a part of the block",
    "half a warp": "reached by a part of it",
    "two operations in a warp": "lanes of one warp are at different operations",
    "no wait for copies": "an asynchronous copy in flight",
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_runner_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """Each bug is put into a kernel that passes without it: the launch fails, or results depend on the schedule."""
    kernel, right, wrong = BUGS[bug]

    def seed(text: str) -> str:
        assert right in text
        return text.replace(right, wrong)

    runner = build(tmp_path, [kernel], seed)
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: (9, 0))
    monkeypatch.setattr(cuda_dcn, "OPERATOR", "registers" if kernel == REGISTERS else "mma")
    dtype = torch.float16 if "float16" in kernel else torch.float32
    args = typed(inputs(1, 64, 64, 8, 9, 10, 3), dtype, dtype)
    outs: list[Tensor] = []
    messages = []
    for runner.schedule in SCHEDULES:
        try:
            outs.append(*forward(0.1)(*args))
        except RuntimeError as error:
            messages.append(str(error))
    if bug in MESSAGES:
        assert len(messages) == len(SCHEDULES)
        assert all(MESSAGES[bug] in message for message in messages)
    else:
        assert not messages
        assert any(not torch.equal(out, outs[0]) or out.isnan().any() for out in outs)


def test_memory_is_never_touched_outside_of_the_tensors(tmp_path: Path) -> None:
    """The kernels run as a program of their own, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    kernels = ["any_float32_float32", "any_float16_float16", "backward_float32", "mma_float16_float16_32_4"]
    kernels += ["mma_float16_float32_64_8", "mma_bfloat16_float32_128_8"]
    kernels += ["registers_float16_float16_64_8", "half2_float16_float16_32_4", "bias_act_float16", "bias_act_shuffle_float32"]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = build_program(tmp_path, "asan.cpp", kernels, flags)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "104 launches\n"
