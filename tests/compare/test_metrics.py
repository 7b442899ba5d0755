import math

import numpy as np
import pytest
from numpy.typing import NDArray

from vsedvr.compare.metrics import MAX_PSNR, psnr, rgb_to_y, ssim


def noisy_pair(height: int = 17, width: int = 23) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (height, width, 3), np.uint8)
    noise = rng.integers(-20, 21, gt.shape)
    return np.clip(gt + noise, 0, 255).astype(np.uint8), gt


def ssim_by_definition(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Computes SSIM by eq. 13 to 17 of "Image quality assessment: from error visibility to structural similarity" (2004)."""
    i = np.arange(11) - 5
    w = np.exp(-(i[:, None] ** 2 + i**2) / (2 * 1.5**2))
    w /= w.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (p[top : top + 11, left : left + 11] for p in (x, y))
            mu_a, mu_b = (w * a).sum(), (w * b).sum()
            var_a, var_b = (w * (a - mu_a) ** 2).sum(), (w * (b - mu_b) ** 2).sum()
            cov = (w * (a - mu_a) * (b - mu_b)).sum()
            numerator = (2 * mu_a * mu_b + c1) * (2 * cov + c2)
            values.append(numerator / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2)))
    return float(np.mean(values))


def test_psnr_is_capped_where_pictures_are_equal_or_nearly_so() -> None:
    gt = np.zeros((720, 1280, 3), np.uint8)
    assert psnr(gt, gt) == MAX_PSNR == 100
    one_off = gt.copy()
    one_off[0, 0, 0] = 1
    assert psnr(one_off, gt) == MAX_PSNR, "by the formula 112 dB: no picture is better than an equal one"
    one_off[:, :, 0] = 1
    assert psnr(one_off, gt) == pytest.approx(10 * math.log10(3 * 255**2))


def test_psnr_has_its_known_values() -> None:
    gt = np.full((12, 12, 3), 100, np.uint8)
    assert psnr(gt + 1, gt) == pytest.approx(20 * math.log10(255))
    assert psnr(gt - 1, gt) == psnr(gt + 1, gt), "differences are not taken in 8 bits"
    assert psnr(np.full_like(gt, 255), np.zeros_like(gt)) == 0
    one_channel = gt.copy()
    one_channel[..., 0] += 3
    assert psnr(one_channel, gt) == pytest.approx(10 * math.log10(255**2 / 3)), "mean over channels of the squares: 9 / 3"


def test_ssim_is_the_published_formula() -> None:
    restored, gt = noisy_pair()
    expected = [ssim_by_definition(restored[..., c].astype(float), gt[..., c].astype(float)) for c in range(3)]
    assert ssim(restored[..., 0], gt[..., 0]) == pytest.approx(expected[0], abs=1e-9)
    assert ssim(restored, gt) == pytest.approx(np.mean(expected), abs=1e-9)
    assert ssim(rgb_to_y(restored), rgb_to_y(gt)) == pytest.approx(
        ssim_by_definition(rgb_to_y(restored), rgb_to_y(gt)), abs=1e-9
    )
    assert ssim(gt, gt) == 1


@pytest.mark.parametrize(
    ("rgb", "y"),
    [((255, 255, 255), 235), ((0, 0, 0), 16), ((255, 0, 0), 81.481), ((0, 255, 0), 144.553), ((0, 0, 255), 40.966)],
)
def test_luma_is_bt601_in_limited_range_and_not_rounded(rgb: tuple[int, int, int], y: float) -> None:
    np.testing.assert_allclose(rgb_to_y(np.full((2, 3, 3), rgb, np.uint8)), np.full((2, 3), y), atol=1e-9)
