import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import conv3x3, native

needs_kernel = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
ISAS = range(native.best_isa() + 1) if native.is_available() else ()
SHAPES = [
    (1, 64, 64, 9, 13),
    (2, 16, 5, 1, 1),
    (1, 32, 216, 7, 8),
    (3, 48, 20, 2, 31),
    (1, 16, 33, 1, 50),
    (1, 128, 64, 20, 21),
    (1, 320, 320, 6, 5),
]


def inputs(b: int, c: int, out: int, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(b, c, h, w), torch.randn(out, c, 3, 3) / (3 * c**0.5), torch.randn(out)


@needs_kernel
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("isa", ISAS)
def test_equals_conv2d_in_float64(shape: tuple[int, int, int, int, int], isa: int) -> None:
    x, weight, bias = inputs(*shape)
    plain = F.conv2d(x.double(), weight.double(), padding=1)
    assert (native.conv3x3(x, weight, None, isa) - plain).abs().max() < 1e-5
    assert (native.conv3x3(x, weight, bias, isa) - plain - bias.view(-1, 1, 1)).abs().max() < 1e-5


@needs_kernel
def test_layouts_and_numbers_of_threads_change_nothing() -> None:
    x, weight, bias = inputs(2, 32, 32, 40, 51)
    out = conv3x3(x, weight, bias)
    assert out.is_contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            assert torch.equal(conv3x3(x.contiguous(memory_format=torch.channels_last), weight, bias), out)
            assert torch.equal(conv3x3(x.repeat_interleave(2, -1)[..., ::2], weight, bias), out)
            part = torch.cat([weight, weight], 1)[:, 32:]
            assert torch.equal(conv3x3(x, part, bias), out), "a part of a larger weight"
    finally:
        torch.set_num_threads(threads)


@needs_kernel
def test_nan_stays_where_it_is() -> None:
    x, weight, _ = inputs(1, 16, 16, 12, 12)
    x[0, 3, 5, 6] = float("nan")
    out = conv3x3(x, weight)
    # Winograd shares products between the pixels of a tile, so all pixels of a touched tile may turn into NaN
    assert out[0, :, 4:7, 5:8].isnan().all()
    assert not out[0, :, :2].isnan().any()
    assert not out[0, :, 9:].isnan().any()


def test_batch_of_none() -> None:
    assert conv3x3(*inputs(0, 16, 16, 5, 6)).shape == (0, 16, 5, 6)


@pytest.mark.parametrize(
    "args",
    [
        inputs(1, 3, 64, 8, 9),  # channels that the kernel does not take
        inputs(1, 64, 3, 8, 9),
        tuple(t.double() for t in inputs(1, 16, 16, 8, 9)),
        tuple(t.bfloat16() for t in inputs(1, 16, 16, 8, 9)),
    ],
)
def test_all_else_is_conv2d(args: tuple[Tensor, Tensor, Tensor]) -> None:
    assert torch.equal(conv3x3(*args), F.conv2d(*args, padding=1))


def test_shapes_that_do_not_belong_together() -> None:
    x, weight, bias = inputs(1, 16, 16, 8, 9)
    with pytest.raises(RuntimeError, match="expected input"):
        conv3x3(x[:, :15], weight, bias)
    with pytest.raises((RuntimeError, ValueError), match="bias"):
        conv3x3(x, weight, bias[:5])


def test_gradients_equal_conv2ds() -> None:
    args = [tensor.requires_grad_() for tensor in inputs(1, 16, 16, 7, 8)]
    x, weight, bias = args
    expected = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1).square().sum(), args)
    for form in (conv3x3, torch.ops.vsedvr.conv3x3) if native.is_available() else (conv3x3,):
        for actual, right in zip(torch.autograd.grad(form(x, weight, bias).square().sum(), args), expected, strict=True):
            assert (actual - right).abs().max() < 1e-3 * right.abs().max()


@needs_kernel
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_opcheck(requires_grad: bool, with_bias: bool) -> None:
    x, weight, bias = (tensor.requires_grad_(requires_grad) for tensor in inputs(1, 16, 16, 5, 7))
    result = torch.library.opcheck(torch.ops.vsedvr.conv3x3, (x, weight, bias if with_bias else None), atol=1e-4, rtol=1e-4)
    assert set(result.values()) == {"SUCCESS"}


def test_compiles_and_exports() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return conv3x3(x, weight, bias)

    args = inputs(1, 16, 16, 6, 7)
    compiled = torch.compile(Layer(), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*args), conv3x3(*args))
    assert torch.equal(torch.export.export(Layer(), args).module()(*args), conv3x3(*args))
