import numpy as np
import pytest
import torch

from vsedvr.train.loss import charbonnier, luma_charbonnier, luma_psnr


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


@pytest.mark.parametrize(("given", "weight"), [({}, 0.1), ({"colour_weight": 0.7}, 0.7)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_error_of_the_colours_has_its_weight_beside_the_lumas(
    reduction: str, given: dict[str, float], weight: float
) -> None:
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    difference = (a.double() - b.double()).numpy()
    luma = 0.299 * difference[:, 0] + 0.587 * difference[:, 1] + 0.114 * difference[:, 2]
    colours = difference - luma[:, None]
    of_luma, of_colours = (np.sqrt(d**2 + 0.01**2) for d in (luma, colours))
    expected = getattr(of_luma + weight * of_colours.mean(1), reduction)()
    assert luma_charbonnier(a, b, 0.01, reduction, **given).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_luma_moves_all_colours_the_way_that_luma_has_to_go() -> None:
    gt = torch.full((1, 3, 4, 4), 0.5)
    darker = (gt - 0.05).requires_grad_()
    luma_charbonnier(darker, gt).backward()  # type: ignore[no-untyped-call]
    assert darker.grad is not None
    step = darker.detach() - darker.grad
    assert (step > 0.45).all(), "brighter in R, in G and in B"
    assert luma_charbonnier(gt, gt).item() == pytest.approx(1.1e-3)


def test_luma_psnr_is_the_negative_psnr_of_each_picture() -> None:
    gt = torch.rand(2, 3, 8, 12)
    grey = torch.stack([torch.rand(1, 8, 12) * 0.2, torch.rand(1, 8, 12) * 0.01])
    of_each = -10 * np.log10((grey.double().numpy() ** 2).mean((1, 2, 3)))
    assert of_each[1] > of_each[0] + 20
    assert luma_psnr(gt + grey, gt, 1e-6).item() == pytest.approx(-of_each.mean(), abs=1e-3)
    assert luma_psnr(gt + grey, gt, 1e-6, "sum").item() == pytest.approx(-of_each.sum(), abs=1e-3)
    assert luma_psnr(gt, gt, 0.01).item() == pytest.approx(-40), "eps is as good as it gets"


@pytest.mark.parametrize(("given", "weight"), [({}, 0.1), ({"colour_weight": 0.7}, 0.7)])
def test_luma_psnr_counts_the_colours_error_by_its_weight(given: dict[str, float], weight: float) -> None:
    gt = torch.full((1, 3, 8, 8), 0.5)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 0.1
    beside = (0.701**2 + 2 * 0.299**2) / 3 * 0.1**2
    expected = 10 * np.log10(0.0299**2 + weight * beside)
    assert luma_psnr(gt + red, gt, 1e-6, "mean", **given).item() == pytest.approx(expected, abs=1e-3)


def test_luma_psnr_learns_alike_from_pictures_near_and_far() -> None:
    gt = torch.full((2, 3, 8, 8), 0.5)
    restored = (gt + torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)).requires_grad_()
    luma_psnr(restored, gt, 1e-4).backward()  # type: ignore[no-untyped-call]
    assert restored.grad is not None
    far, near = (restored.grad * (restored.detach() - gt)).sum((1, 2, 3)).tolist()
    assert near == pytest.approx(far, rel=1e-3)
