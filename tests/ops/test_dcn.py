from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from vsedvr.ops import columns, cuda, dcn, native
from vsedvr.ops.checks import check_dcn

torchvision_form = pytest.importorskip("torchvision.ops", reason="no torchvision").deform_conv2d

needs_kernel = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
ISAS = range(native.best_isa() + 1) if native.is_available() else ()


def inputs(b: int, c: int, out: int, groups: int, h: int, w: int, reach: float = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    conv_offset_output = torch.randn(b, 27 * groups, h, w)
    conv_offset_output[:, : 18 * groups] *= reach
    return torch.randn(b, c, h, w), conv_offset_output, torch.randn(out, c, 3, 3) / (3 * c**0.5), torch.randn(out)


def expected(x: Tensor, conv_offset_output: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    """Computes the expected result with torchvision in float64, from the inputs as they are."""
    o1, o2, mask = conv_offset_output.double().chunk(3, 1)
    out = torchvision_form(x.double(), torch.cat([o1, o2], 1), weight.double(), bias.double(), padding=1, mask=mask.sigmoid())
    return F.leaky_relu(out, slope)


SHAPES = [
    (1, 64, 64, 8, 9, 13),
    (2, 16, 16, 8, 1, 1),
    (1, 12, 12, 3, 5, 7),
    (3, 8, 20, 2, 3, 100),
    (1, 7, 5, 1, 6, 8),
    (1, 32, 48, 4, 17, 3),
    (1, 128, 128, 8, 6, 5),
    (1, 320, 320, 8, 4, 6),
    (1, 24, 24, 3, 4, 9),
    (1, 32, 16, 2, 5, 6),
]


@needs_kernel
class TestKernel:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("isa", ISAS)
    @pytest.mark.parametrize("reach", [0, 3, 200])
    def test_float32_equals_torchvision_in_float64(self, shape: tuple[int, ...], isa: int, reach: float) -> None:
        args = inputs(*shape, reach=reach)  # type: ignore[misc]
        for slope in (0.1, 1.0):
            assert (native.dcn(*args, slope, isa) - expected(*args, slope)).abs().max() < 1e-4

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("isa", ISAS)
    def test_bfloat16_data_have_float32_positions_and_sums(self, shape: tuple[int, ...], isa: int) -> None:
        x, conv_offset_output, weight, bias = inputs(*shape)
        x, weight = x.bfloat16(), weight.bfloat16()
        out = native.dcn(x, conv_offset_output, weight, bias, 0.1, isa)
        assert out.dtype == torch.bfloat16
        exact = expected(x, conv_offset_output, weight, bias, 0.1)
        assert ((out - exact).abs() <= exact.abs() * 2**-8 + 1e-4).all(), "nothing but the result is rounded"

    def test_offsets_on_the_border_and_on_whole_numbers(self) -> None:
        x, conv_offset_output, weight, bias = inputs(1, 8, 8, 1, 6, 7)
        for place in (-1.0, -1 + 2**-10, -1 - 2**-10, 0.0, 5.0, 6.0, 7.0, 7 - 2**-10):
            conv_offset_output[:, :18] = place - torch.randint(0, 6, (1, 18, 6, 7))
            args = x, conv_offset_output, weight, bias
            assert (native.dcn(*args, 1.0) - expected(*args, 1.0)).abs().max() < 1e-4

    @pytest.mark.parametrize("isa", ISAS)
    @pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 7), (16, 33)])
    @pytest.mark.parametrize("channel", [8, 9, 22])
    def test_nan_gives_nan_there_and_huge_offsets_zero(self, isa: int, h: int, w: int, channel: int) -> None:
        x, conv_offset_output, weight, _ = inputs(1, 4, 3, 1, h, w)
        bias = torch.zeros(3)
        for huge in (1e30, -1e30, float("inf"), float("-inf")):
            conv_offset_output[:, :18] = huge
            assert (native.dcn(x, conv_offset_output, weight, bias, 0.1, isa) == 0).all()
        conv_offset_output[:, :18] = 0
        conv_offset_output[0, channel, h // 2, w // 2] = float("nan")
        out = native.dcn(x, conv_offset_output, weight, bias, 0.1, isa)
        assert out[0, :, h // 2, w // 2].isnan().all()
        assert out.isnan().sum() == 3

    def test_layouts_and_numbers_of_threads_change_nothing(self) -> None:
        args = inputs(2, 16, 16, 2, 30, 41)
        out = native.dcn(*args, 0.1)
        assert out.is_contiguous(memory_format=torch.channels_last)
        strided: list[Any] = [t.repeat_interleave(2, -1)[..., ::2] for t in args]
        last: list[Any] = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in args]
        run: Any = native.dcn
        threads = torch.get_num_threads()
        try:
            for number in (1, 2, 5):
                torch.set_num_threads(number)
                assert torch.equal(run(*strided, 0.1), out)
                assert torch.equal(run(*last, 0.1), out)
        finally:
            torch.set_num_threads(threads)

    def test_batch_of_none(self) -> None:
        assert native.dcn(*inputs(0, 4, 6, 1, 5, 6), 0.1).shape == (0, 6, 5, 6)


@needs_kernel
class TestKernelsGradients:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("isa", ISAS)
    @pytest.mark.parametrize("reach", [0, 3, 200])
    def test_equal_torchvisions_in_float64(self, shape: tuple[int, ...], isa: int, reach: float) -> None:
        args = inputs(*shape, reach=reach)  # type: ignore[misc]
        self.check(args, torch.randn(shape[0], shape[2], *shape[4:]), isa)

    def test_offsets_on_the_border_and_on_whole_numbers(self) -> None:
        """The derivative is not defined there. torchvision's is that to the right, and 0 for samples outside of the border."""
        x, conv_offset_output, weight, bias = inputs(1, 8, 8, 1, 6, 7)
        for place in (-1.0, -1 + 2**-10, -1 - 2**-10, 0.0, 5.0, 6.0, 7.0, 7 - 2**-10):
            conv_offset_output[:, :18] = place - torch.randint(0, 6, (1, 18, 6, 7))
            self.check((x, conv_offset_output, weight, bias), torch.randn(1, 8, 6, 7), None)

    def check(self, args: tuple[Tensor, Tensor, Tensor, Tensor], grad: Tensor, isa: int | None) -> None:
        x, conv_offset_output, weight = exact = [tensor.double().requires_grad_() for tensor in args[:3]]
        right = torch.autograd.grad(expected(x, conv_offset_output, weight, args[3], 1.0), exact, grad.double())
        for actual, gradient in zip(native.dcn_backward(grad, *args[:3], isa), right, strict=True):
            assert (actual - gradient).abs().max() <= 1e-5 * gradient.abs().max()

    @pytest.mark.parametrize("isa", ISAS)
    @pytest.mark.parametrize("channel", [8, 9, 22])
    def test_nan_shows_in_every_gradient(self, isa: int, channel: int) -> None:
        """A training must notice it and skip the step."""
        x, conv_offset_output, weight, _ = inputs(1, 4, 3, 1, 5, 7)
        conv_offset_output[0, channel, 2, 3] = float("nan")
        for gradient in native.dcn_backward(torch.ones(1, 3, 5, 7), x, conv_offset_output, weight, isa):
            assert gradient.isnan().any()

    def test_layouts_threads_and_parts_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, conv_offset_output, weight, _ = inputs(5, 16, 8, 2, 9, 11)
        run: Any = native.dcn_backward
        args = torch.randn(5, 8, 9, 11), x, conv_offset_output, weight
        right = native.dcn_backward(*args)
        strided: list[Any] = [t.repeat_interleave(2, -1)[..., ::2] for t in args]
        threads = torch.get_num_threads()
        try:
            for number in (1, 2, 7):
                torch.set_num_threads(number)
                for actual, gradient in zip(run(*strided), right, strict=True):
                    assert torch.equal(actual, gradient)
        finally:
            torch.set_num_threads(threads)
        monkeypatch.setattr(columns, "COLUMN_BYTES", 2 * 4 * 9 * 11 * 9 * 16)  # two pictures at a time, one at last
        grad_x, grad_offset, grad_weight = native.dcn_backward(*args)
        assert torch.equal(grad_x, right[0])
        assert torch.equal(grad_offset, right[1])
        assert (grad_weight - right[2]).abs().max() < 1e-5 * right[2].abs().max(), "sums of parts are added in another order"

    def test_batch_of_none(self) -> None:
        x, conv_offset_output, weight, _ = inputs(0, 4, 6, 1, 5, 6)
        shapes = [gradient.shape for gradient in native.dcn_backward(torch.zeros(0, 6, 5, 6), x, conv_offset_output, weight)]
        assert shapes == [x.shape, conv_offset_output.shape, weight.shape]


def test_both_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    args = inputs(1, 16, 16, 2, 11, 14)
    one = dcn(*args, 0.1)
    monkeypatch.setattr(native, "is_available", lambda: False)
    other = dcn(*args, 0.1)
    assert (one - other).abs().max() < 1e-4
    assert one.stride() == other.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slope", [0.1, 1.0])
def test_gradients_of_both_forms_agree(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, slope: float) -> None:
    operator: Any = dcn
    x, conv_offset_output, weight, bias = inputs(2, 16, 24, 2, 11, 14)
    args = [tensor.requires_grad_() for tensor in (x.to(dtype), conv_offset_output, weight.to(dtype), bias)]
    grad = torch.randn(2, 24, 11, 14).to(dtype)
    gradients = torch.autograd.grad(operator(*args, slope), args, grad)
    monkeypatch.setattr(native, "is_available", lambda: False)
    composed = torch.autograd.grad(operator(*args, slope), args, grad)
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    for one, other in zip(gradients, composed, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("slope", [0.1, 1.0])
def test_gradients_equal_torchvisions(slope: float) -> None:
    """It runs in float64, for which there is no kernel, with the form composed of torch's operators and in traced graphs."""
    x, conv_offset_output, weight, bias = (tensor.double().requires_grad_() for tensor in inputs(1, 4, 6, 2, 5, 6))
    args = x, conv_offset_output, weight, bias
    reference = torch.autograd.grad(expected(*args, slope).square().sum(), args)
    for form in (dcn, torch.ops.vsedvr.dcn):
        gradients = torch.autograd.grad(form(*args, slope).square().sum(), args)
        for actual, right in zip(gradients, reference, strict=True):
            assert (actual - right).abs().max() < 1e-8


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_opcheck(requires_grad: bool, dtype: torch.dtype, device: str) -> None:
    x, conv_offset_output, weight, bias = inputs(1, 8, 8, 2, 5, 7)
    tensors = [tensor.to(device) for tensor in (x.to(dtype), conv_offset_output, weight.to(dtype), bias)]
    args = (*(tensor.requires_grad_(requires_grad) for tensor in tensors), 0.1)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    result = torch.library.opcheck(torch.ops.vsedvr.dcn, args, atol=tolerance, rtol=tolerance)
    assert set(result.values()) == {"SUCCESS"}


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(8, 54, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) / 9)
        self.bias = nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return dcn(x, self.conv_offset(x), self.weight, self.bias, 0.1)


@pytest.mark.parametrize("grad", [False, True])
def test_compiles_without_a_graph_break(grad: bool) -> None:
    layer, x = Layer(), torch.randn(1, 8, 6, 7)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch.set_grad_enabled(grad):
        assert (compiled(x) - layer(x)).abs().max() < 1e-5


def test_exports_as_one_operator() -> None:
    layer = Layer().requires_grad_(False)
    program = torch.export.export(layer, (torch.randn(1, 8, 6, 7),))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.conv2d.default", "vsedvr.dcn.default"]
    x = torch.randn(1, 8, 6, 7)
    assert torch.equal(program.module()(x), layer(x))


@pytest.mark.parametrize(
    ("k", "tensor", "message"),
    [
        (1, torch.zeros(1, 26, 5, 5), "conv_offset_output has 26 channels"),
        (1, torch.zeros(1, 27, 5, 4), r"conv_offset_output must have the shape \(1, 27, 5, 5\), got \(1, 27, 5, 4\)"),
        (2, torch.zeros(6, 3, 3, 3), r"weight must have the shape \(6, 4, 3, 3\), got \(6, 3, 3, 3\)"),
        (3, torch.zeros(5), r"bias must have the shape \(6,\), got \(5,\)"),
    ],
)
@needs_kernel
def test_shapes_that_do_not_belong_together(k: int, tensor: Tensor, message: str) -> None:
    args: list[Any] = [torch.zeros(1, 4, 5, 5), torch.zeros(1, 27, 5, 5), torch.zeros(6, 4, 3, 3), torch.zeros(6), 0.1]
    args[k] = tensor
    with pytest.raises(ValueError, match=message):
        dcn(*args)


def test_tensors_on_several_devices() -> None:
    x, conv_offset_output, weight, bias = inputs(1, 4, 6, 1, 5, 5)
    with pytest.raises(ValueError, match="all tensors must be on one device, got cpu, meta"):
        check_dcn(x, conv_offset_output, weight, bias.to("meta"))


@pytest.mark.parametrize(
    ("device", "dtype", "goes_through"),
    [("cpu", torch.float32, native.is_available()), ("cpu", torch.float64, False), ("cuda", torch.float32, True)],
)
def test_training_goes_through_the_operator_where_it_has_kernels(device: str, dtype: torch.dtype, goes_through: bool) -> None:
    """Nothing is computed, so that this can be tested without a GPU."""
    with FakeTensorMode():
        tensors = (tensor.to(device, dtype).requires_grad_() for tensor in inputs(1, 64, 64, 8, 5, 6))
        x, conv_offset_output, weight, bias = tensors
        out = dcn(x, conv_offset_output, weight, bias, 0.1)
    assert out.device.type == device
    assert out.shape == (1, 64, 5, 6)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert ("vsedvr_dcn" in type(out.grad_fn).__name__) == goes_through


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bias_of_the_offsets_is_added_to_them(dtype: torch.dtype) -> None:
    """With its gradient; and in the operator itself, which on a GPU is handed it."""
    x, conv_offset_output, weight, bias = (tensor.to(dtype) for tensor in inputs(1, 16, 16, 2, 6, 7))
    offset_bias = torch.randn(54, dtype=dtype).requires_grad_()
    out = dcn(x, conv_offset_output, weight, bias, 0.1, offset_bias)
    added = conv_offset_output + offset_bias[:, None, None]
    (gradient,) = torch.autograd.grad(out.square().sum(), offset_bias)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        assert torch.equal(dcn(x, conv_offset_output, weight, bias, 0.1, offset_bias), dcn(x, added, weight, bias, 0.1))
        in_operator = torch.ops.vsedvr.dcn(x, conv_offset_output, weight, bias, 0.1, offset_bias)
        assert torch.equal(in_operator, dcn(x, added, weight, bias, 0.1))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_operator_on_a_gpu_equals_the_cpus(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """The operator runs with the kernels, with torchvision's operator instead, and with gradients."""
    assert cuda.is_available(torch.device("cuda", 0))
    operator: Any = dcn
    tensors = torch.randn(2, 64, 9, 14), torch.randn(2, 216, 9, 14), torch.randn(64, 64, 3, 3) / 24, torch.randn(64)
    tolerance = {torch.float16: 4e-3, torch.bfloat16: 3e-2}.get(dtype, 1e-5)
    x, conv_offset_output, weight, bias = tensors
    args = [x.to(dtype), conv_offset_output, weight.to(dtype), bias.to(dtype)]
    doubles: list[Any] = [t.double().requires_grad_() for t in args]
    exact = operator(*doubles, 0.1)
    exact_gradients = torch.autograd.grad(exact.sum(), doubles)
    for available in (cuda.is_available, lambda device: False):
        monkeypatch.setattr(cuda, "is_available", available)
        with torch.no_grad():
            x, conv_offset_output, weight, bias = (t.cuda() for t in args)
            out = operator(x, conv_offset_output - 1, weight, bias, 0.1, torch.ones_like(conv_offset_output[0, :, 0, 0]))
        assert (out.cpu() - exact).abs().max() <= tolerance * exact.abs().max()
        on_gpu: list[Any] = [t.cuda().requires_grad_() for t in args]
        out = operator(*on_gpu, 0.1)
        assert (out.cpu() - exact).abs().max() <= tolerance * exact.abs().max()
        gradients = torch.autograd.grad(out.sum(), on_gpu)
        for actual, right in zip(gradients, exact_gradients, strict=True):
            assert (actual.cpu() - right).abs().max() <= tolerance * right.abs().max()
