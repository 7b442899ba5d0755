import numpy as np
import pytest
import torch

from vsedvr.train.loss import charbonnier, luma_charbonnier


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 0.1])
def test_is_the_formula(eps: float) -> None:
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    expected = np.sqrt((a.double() - b.double()).numpy() ** 2 + eps**2)
    assert charbonnier(a, b, eps, "mean").item() == pytest.approx(expected.mean(), rel=1e-6)
    assert charbonnier(a, b, eps, "sum").item() == pytest.approx(expected.sum(), rel=1e-6)


def test_the_defaults_are_the_papers() -> None:
    same = torch.rand(1, 3, 4, 4)
    assert charbonnier(same, same).item() == pytest.approx(1e-3)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_gradient_is_the_derivative_and_finite_at_zero(reduction: str) -> None:
    gt = torch.rand(1, 3, 4, 4)
    difference = torch.randn(1, 3, 4, 4) * 1e-2
    difference[0, :, 0] = 0
    restored = (gt + difference).requires_grad_()
    charbonnier(restored, gt, reduction=reduction).backward()  # type: ignore[no-untyped-call]
    assert restored.grad is not None
    d = (restored.detach() - gt).double()
    expected = d / (d**2 + 1e-6).sqrt() / (1 if reduction == "sum" else d.numel())
    torch.testing.assert_close(restored.grad.double(), expected, rtol=1e-4, atol=1e-9)
    assert (restored.grad[0, :, 0] == 0).all()


def test_half_precision_is_compared_in_full() -> None:
    restored, gt = torch.full((1, 3, 64, 64), 0.5, dtype=torch.bfloat16), torch.full((1, 3, 64, 64), 0.501)
    assert charbonnier(restored, gt).item() == pytest.approx((2e-6) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_luma_counts_ten_times_as_much_as_the_colours_beside_it(reduction: str) -> None:
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    difference = (a.double() - b.double()).numpy()
    luma = 0.299 * difference[:, 0] + 0.587 * difference[:, 1] + 0.114 * difference[:, 2]
    colours = difference - luma[:, None]
    of_luma, of_colours = (np.sqrt(d**2 + 0.01**2) for d in (luma, colours))
    expected = getattr(of_luma + 0.1 * of_colours.mean(1), reduction)()
    assert luma_charbonnier(a, b, 0.01, reduction).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_luma_moves_all_colours_the_way_that_luma_has_to_go() -> None:
    gt = torch.full((1, 3, 4, 4), 0.5)
    darker = (gt - 0.05).requires_grad_()
    luma_charbonnier(darker, gt).backward()  # type: ignore[no-untyped-call]
    assert darker.grad is not None
    step = darker.detach() - darker.grad
    assert (step > 0.45).all(), "brighter in R, in G and in B"
    assert luma_charbonnier(gt, gt).item() == pytest.approx(1.1e-3)
