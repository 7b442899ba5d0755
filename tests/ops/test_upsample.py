"""Bilinear enlargement against PyTorch's in float64."""

import pytest
import torch
from torch.nn import functional as F

from vsedvr.ops import native, upsample

SHAPES = [(1, 64, 5, 7), (2, 40, 4, 1), (3, 3, 6, 9), (1, 1, 1, 1), (1, 17, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_equals_float64(shape: tuple[int, int, int, int], scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(shape)
    exact = F.interpolate(x.double(), scale_factor=scale, mode="bilinear")
    with torch.no_grad():
        for isa in range(native.best_isa() + 1) if native.is_available() else (0,):
            monkeypatch.setattr(native, "settings", lambda _, isa=isa: (2, isa))
            assert (upsample(x, scale) - exact).abs().max() < 1e-6
            assert torch.equal(upsample(x, scale), upsample(x.contiguous(memory_format=torch.channels_last), scale))


def test_it_has_gradients_and_takes_any_type() -> None:
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(upsample(x).sum(), x)
    assert torch.equal(grad, torch.full_like(x, 4))
    with torch.no_grad():
        half = upsample(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.shape == (1, 3, 8, 10)


def test_it_can_be_exported() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return upsample(x)

    x = torch.randn(1, 3, 4, 5)
    with torch.no_grad():
        program = torch.export.export(Layer(), (x,))
        assert torch.allclose(program.module()(x), upsample(x), atol=1e-6)
