"""The 3x3 convolution with packed weights, and the operations that are fused with it."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import PackedConv3x3, conv3x3, native, pack_conv3x3

pytestmark = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
ISAS = range(native.best_isa() + 1) if native.is_available() else ()
CHANNELS = [(64, 64), (64, 216), (320, 64), (32, 256), (24, 40), (40, 24), (48, 48), (3, 64), (64, 3), (1, 12), (5, 20)]
"""(input, output) channels: those of networks, and some that are no multiple of any instruction set's vectors."""


def weights(channels: int, out_channels: int) -> tuple[Tensor, Tensor]:
    return torch.randn(out_channels, channels, 3, 3) / (3 * channels**0.5), torch.randn(out_channels)


def exact(x: Tensor, weight: Tensor, bias: Tensor, shuffle: bool, add: Tensor | None, slope: float) -> Tensor:
    out = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    out = F.pixel_shuffle(out, 2) if shuffle else out
    return F.leaky_relu(out if add is None else out + add, slope)


@pytest.mark.parametrize(("channels", "out_channels"), CHANNELS)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("isa", ISAS)
def test_everything_at_once_equals_float64(channels: int, out_channels: int, shuffle: bool, isa: int) -> None:
    if shuffle and out_channels % 4:
        pytest.skip("there is nothing to shuffle")
    weight, bias = weights(channels, out_channels)
    packed = PackedConv3x3(weight, bias, shuffle, isa)
    for b, h, w in ((1, 9, 13), (2, 4, 5), (3, 1, 2)):
        x = torch.randn(b, channels, h, w)
        size = (b, out_channels // 4, 2 * h, 2 * w) if shuffle else (b, out_channels, h, w)
        some = torch.randn(size)
        for slope, add, split in itertools.product((1, 0.1, 0), (None, some), {0, channels // 2, channels - 1}):
            inputs = (x[:, :split], x[:, split:]) if split else (x, None)
            out = packed(inputs[0], slope, add, inputs[1])
            assert out.shape == size
            assert out.is_contiguous(memory_format=torch.channels_last)
            assert (out - exact(x, weight, bias, shuffle, add, slope)).abs().max() < 1e-5


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("isa", ISAS)
def test_some_rows_are_those_of_the_whole(shuffle: bool, isa: int) -> None:
    weight, bias = weights(32, 64)
    packed, x, scale = PackedConv3x3(weight, bias, shuffle, isa), torch.randn(2, 32, 13, 9), 2 if shuffle else 1
    whole = exact(x, weight, bias, shuffle, None, 0.1)
    for first, number in ((0, 13), (0, 5), (3, 7), (6, 7), (12, 1), (4, 0)):
        rows = packed(x, 0.1, rows=(first, number))
        assert rows.shape == (*whole.shape[:2], scale * number, scale * 9)
        assert torch.allclose(rows.double(), whole[:, :, scale * first : scale * (first + number)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [64, 40, 3, 1])
@pytest.mark.parametrize("isa", ISAS)
def test_a_second_input_of_half_the_size_is_enlarged(channels: int, isa: int) -> None:
    weight, bias = weights(16 + channels, 20)
    packed = PackedConv3x3(weight, bias, isa=isa)
    for (b, h, w), factor in itertools.product(((1, 10, 14), (2, 4, 6), (3, 2, 2)), (1, 2)):
        x, x2 = torch.randn(b, 16, h, w), torch.randn(b, channels, h // 2, w // 2)
        large = factor * F.interpolate(x2.double(), scale_factor=2, mode="bilinear")
        expected = exact(torch.cat([x, large], 1), weight, bias, False, None, 0.1)
        assert (packed(x, 0.1, x2=x2, enlarge=factor) - expected).abs().max() < 1e-5


def test_without_a_bias_there_is_none() -> None:
    weight, _ = weights(20, 20)
    x = torch.randn(1, 20, 6, 7)
    assert (PackedConv3x3(weight)(x) - F.conv2d(x.double(), weight.double(), padding=1)).abs().max() < 1e-5


def test_layouts_threads_and_neighbours_in_the_batch_change_no_bit() -> None:
    weight, bias = weights(48, 40)
    packed, x = PackedConv3x3(weight, bias), torch.randn(3, 48, 40, 51)
    out = packed(x, 0.1)
    assert torch.equal(out, PackedConv3x3(weight.contiguous(memory_format=torch.channels_last), bias)(x, 0.1))
    assert torch.equal(out[1:2], packed(x[1:2], 0.1))
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            assert torch.equal(out, packed(x.contiguous(memory_format=torch.channels_last), 0.1))
            assert torch.equal(out, packed(x.repeat_interleave(2, -1)[..., ::2], 0.1))
            assert torch.equal(packed.packed, PackedConv3x3(weight, bias).packed)
    finally:
        torch.set_num_threads(threads)


def test_it_is_the_convolution_of_a_plain_weight_bit_for_bit() -> None:
    weight, bias = weights(32, 64)
    x = torch.randn(1, 32, 20, 30)
    assert torch.equal(PackedConv3x3(weight, bias)(x), conv3x3(x, weight, bias))


def test_nan_and_infinity_pass_through() -> None:
    weight, bias = weights(16, 16)
    x = torch.zeros(1, 16, 12, 12)
    x[0, 3, 5, 6] = float("nan")
    for slope in (1, 0.1, 0):
        out = PackedConv3x3(weight, bias)(x, slope)
        assert out[0, :, 4:7, 5:8].isnan().all()
        assert not out[0, :, 8:].isnan().any()


def test_it_keeps_a_copy_of_the_weights() -> None:
    weight, bias = weights(16, 16)
    packed, x = PackedConv3x3(weight, bias), torch.randn(1, 16, 5, 5)
    before = packed(x)
    weight.zero_(), bias.zero_()
    assert torch.equal(packed(x), before)


def test_what_is_left_to_pytorch() -> None:
    assert pack_conv3x3(torch.randn(64, 3, 3, 3)) is None, "PyTorch is faster"
    assert pack_conv3x3(torch.randn(16, 16, 3, 3, dtype=torch.float64)) is None
    assert pack_conv3x3(torch.randn(16, 16, 3, 3, device="meta")) is None
    packed = pack_conv3x3(torch.randn(16, 16, 3, 3))
    assert packed is not None
    with torch.no_grad():
        assert packed.serves(torch.zeros(1, 16, 4, 4))
        assert not packed.serves(torch.zeros(1, 16, 4, 4).double())
        assert not packed.serves(torch.zeros(1, 16, 4, 4, device="meta"))
    assert not packed.serves(torch.zeros(1, 16, 4, 4)), "gradients may be wanted"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(16, 5, 6)}, r"x must have the shape \(b, c, h, w\), got \(16, 5, 6\)"),
        ({"x": torch.zeros(1, 15, 5, 6)}, "weights are for 16 channels, got x of 15"),
        ({"x": torch.zeros(1, 16, 5, 6).double()}, "x must be of type torch.float32"),
        ({"x": torch.zeros(1, 16, 5, 6), "x2": torch.zeros(1, 1, 5, 6)}, "weights are for 16 channels, got x of 16 and x2"),
        ({"x": torch.zeros(1, 9, 5, 6), "x2": torch.zeros(1, 7, 5, 5)}, r"x2 must have the shape \(1, 7, 5, 6\)"),
        ({"x": torch.zeros(1, 9, 5, 6), "x2": torch.zeros(1, 6, 5, 6)}, r"x2 must have the shape \(1, 7, 5, 6\)"),
        ({"x": torch.zeros(1, 9, 5, 6), "x2": torch.zeros(1, 7, 2, 3), "enlarge": 1}, "must be even, got 5 and 6"),
        ({"x": torch.zeros(1, 9, 4, 6), "x2": torch.zeros(1, 7, 4, 6), "enlarge": 1}, r"x2 must have the shape \(1, 7, 2, 3\)"),
        ({"add": torch.zeros(1, 20, 5, 6)}, r"add must have the shape \(1, 5, 10, 12\), got \(1, 20, 5, 6\)"),
        ({"add": torch.zeros(1, 5, 10, 12, device="meta")}, "add must be on the device cpu"),
        ({"rows": (1, 5)}, "rows must lie within the 5 rows of x, got 5 from row 1"),
        ({"rows": (-1, 5)}, "rows must lie within"),
        ({"rows": (3, -1)}, "rows must lie within"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    packed = PackedConv3x3(torch.zeros(20, 16, 3, 3), torch.zeros(20), shuffle=True)
    with pytest.raises(ValueError, match=message):
        packed(**{"x": torch.zeros(1, 16, 5, 6), **change})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(20, 16, 3, 5),), r"weight must have the shape \(20, 16, 3, 3\), got \(20, 16, 3, 5\)"),
        ((torch.zeros(20, 16, 3, 3), torch.zeros(19)), r"bias must have the shape \(20,\), got \(19,\)"),
        ((torch.zeros(18, 16, 3, 3), None, True), "must be a multiple of 4, got 18"),
        ((torch.zeros(20, 16, 3, 3, device="meta"),), "weight must be on the device cpu"),
        ((torch.zeros(20, 16, 3, 3), None, False, 3), "isa must be within"),
    ],
)
def test_refuses_to_pack(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedConv3x3(*arguments)
