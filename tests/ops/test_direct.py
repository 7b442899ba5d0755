"""1x1 and strided convolutions with packed weights, and what EDVR's fusion has around them."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.ops import PackedConv, native, pack_conv, similarity

pytestmark = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
ISAS = range(native.best_isa() + 1) if native.is_available() else ()
LAYERS = [(64, 64, 1, 1), (40, 40, 3, 2), (24, 40, 3, 2), (3, 64, 3, 1), (216, 48, 1, 1), (5, 20, 3, 3), (48, 3, 5, 2)]
"""Channels of the input and of the output, size of the kernel, stride."""


def weights(channels: int, out_channels: int, kernel: int) -> tuple[Tensor, Tensor]:
    weight = torch.randn(out_channels, channels, kernel, kernel) / (kernel * channels**0.5)
    return weight, torch.randn(out_channels)


@pytest.mark.parametrize(("channels", "out_channels", "kernel", "stride"), LAYERS)
@pytest.mark.parametrize("isa", ISAS)
def test_it_equals_float64(channels: int, out_channels: int, kernel: int, stride: int, isa: int) -> None:
    weight, bias = weights(channels, out_channels, kernel)
    packed = PackedConv(weight, bias, stride, isa)
    for (b, h, w), slope in itertools.product(((1, 9, 13), (2, 4, 5), (3, 1, 2), (1, 8, 31)), (1, 0.1, 0)):
        x = torch.randn(b, channels, h, w)
        out = packed(x, slope=slope)
        exact = F.conv2d(x.double(), weight.double(), bias.double(), stride, kernel // 2)
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert (out - F.leaky_relu(exact, slope)).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [64, 40, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_inputs_scales_and_parts_equal_float64(channels: int, isa: int) -> None:
    weight, bias = weights(5 * channels, 2 * channels, 1)
    inputs = [torch.randn(2, channels, 7, 9) for _ in range(5)]
    scales = [torch.rand(2, 1, 7, 9) for _ in range(5)]
    joined = torch.cat([x * scale for x, scale in zip(inputs, scales, strict=True)], 1)
    exact = F.leaky_relu(F.conv2d(joined.double(), weight.double(), bias.double()), 0.1)
    parts = PackedConv(weight, bias, isa=isa)(*inputs, slope=0.1, scales=scales, parts=2).chunk(2)
    for part, expected in zip(parts, exact.chunk(2, 1), strict=True):
        assert part.shape == expected.shape
        assert (part - expected).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [64, 40, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_a_modulated_map_equals_float64(channels: int, isa: int) -> None:
    weight, bias = weights(channels, channels, 1)
    x, feat, logits = (torch.randn(2, channels, 7, 9) for _ in range(3))
    exact = 2 * feat.double() * logits.double().sigmoid() + F.conv2d(x.double(), weight.double(), bias.double())
    assert (PackedConv(weight, bias, isa=isa)(x, modulate=(feat, logits)) - exact).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [64, 40, 3])
def test_similarity_equals_float64(channels: int) -> None:
    a, b = torch.randn(2, channels, 7, 9), torch.randn(2, channels, 7, 9)
    exact = (a.double() * b.double()).sum(1, keepdim=True).sigmoid()
    assert (similarity(a, b) - exact).abs().max() < 1e-5


def test_layouts_threads_and_neighbours_in_the_batch_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = weights(40, 48, 3)
    packed, x = PackedConv(weight, bias, 2), torch.randn(3, 40, 40, 51)
    out, alike = packed(x), similarity(x, x.flip(1))
    assert torch.equal(out[1:2], packed(x[1:2]))
    for threads in (1, 2, 5):
        monkeypatch.setattr(native, "settings", lambda isa, threads=threads: (threads, native.best_isa()))
        assert torch.equal(out, packed(x.contiguous(memory_format=torch.channels_last)))
        assert torch.equal(alike, similarity(x, x.flip(1)))


def test_it_keeps_a_copy_of_the_weights_and_does_without_a_bias() -> None:
    weight, _ = weights(20, 20, 1)
    packed, x = PackedConv(weight), torch.randn(1, 20, 6, 7)
    expected = F.conv2d(x.double(), weight.double())
    weight.zero_()
    assert (packed(x) - expected).abs().max() < 1e-5


def test_what_is_left_to_pytorch() -> None:
    assert pack_conv(torch.randn(16, 16, 1, 1, dtype=torch.float64)) is None
    assert pack_conv(torch.randn(16, 16, 1, 1, device="meta")) is None
    packed = pack_conv(torch.randn(16, 16, 1, 1))
    assert packed is not None
    assert not packed.serves(torch.zeros(1, 16, 4, 4)), "gradients may be wanted"
    with torch.no_grad():
        assert packed.serves(torch.zeros(1, 16, 4, 4))
        assert not packed.serves(torch.zeros(1, 16, 4, 4).double())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": [torch.zeros(1, 15, 5, 6)]}, "weights are for 16 channels, got 1 inputs of 15"),
        ({"inputs": [torch.zeros(1, 8, 5, 6), torch.zeros(1, 8, 5, 7)]}, r"input must have the shape \(1, 8, 5, 6\)"),
        ({"inputs": [torch.zeros(1, 16, 5, 6).double()]}, "input must be of type torch.float32"),
        ({"scales": [torch.zeros(1, 1, 5, 6)] * 2}, "got 1 inputs and 2 scales"),
        ({"scales": [torch.zeros(1, 1, 5, 5)]}, r"scale must have the shape \(1, 1, 5, 6\)"),
        ({"parts": 3}, "20 channels cannot be split into 3 parts"),
        ({"modulate": (torch.zeros(1, 20, 5, 6), torch.zeros(1, 20, 5, 5))}, r"modulate must have the shape \(1, 20, 5, 6\)"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    inputs = arguments.pop("inputs", [torch.zeros(1, 16, 5, 6)])
    with pytest.raises(ValueError, match=message):
        PackedConv(torch.zeros(20, 16, 1, 1))(*inputs, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(20, 16, 2, 2),), "the kernel must be odd"),
        ((torch.zeros(20, 16, 3, 3), None, 0), "the stride positive, got 3 and 0"),
        ((torch.zeros(20, 16, 3, 5),), r"weight must have the shape \(20, 16, 3, 3\), got \(20, 16, 3, 5\)"),
        ((torch.zeros(20, 16, 3, 3), torch.zeros(19)), r"bias must have the shape \(20,\), got \(19,\)"),
    ],
)
def test_refuses_to_pack(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedConv(*arguments)
