import numpy as np
import pytest
from numpy.typing import NDArray

from vsedvr.compare.metrics import MAX_PSNR, psnr, rgb_to_y, ssim
from vsedvr.evaluation.scoring import Score, Scoring


def noisy_pair(height: int = 17, width: int = 23) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (height, width, 3), np.uint8)
    noise = rng.integers(-20, 21, gt.shape)
    return np.clip(gt + noise, 0, 255).astype(np.uint8), gt


def test_scoring_says_what_counts() -> None:
    restored, gt = noisy_pair(31, 35)
    assert Scoring().measure(restored, gt) == Score(psnr(restored, gt), ssim(restored, gt))
    y, y_gt = rgb_to_y(restored), rgb_to_y(gt)
    assert Scoring(y_channel=True).measure(restored, gt) == Score(psnr(y, y_gt), ssim(y, y_gt))
    framed = gt.copy()
    framed[:8] = framed[-8:] = framed[:, :8] = framed[:, -8:] = 0
    assert Scoring(border=8).measure(framed, gt) == Score(MAX_PSNR, 1)
    assert Scoring(border=7).measure(framed, gt).psnr < 40


def test_frames_at_the_ends_may_not_count() -> None:
    assert list(Scoring().counted(3)) == [0, 1, 2]
    assert list(Scoring(left_out=(3, 3)).counted(7)) == [3]
    assert list(Scoring(left_out=(2, 0)).counted(4)) == [2, 3]
    with pytest.raises(ValueError, match="of 4 frames none is left: the first 2 and the last 2"):
        Scoring(left_out=(2, 2)).counted(4)


def test_pictures_that_do_not_compare_are_refused() -> None:
    restored, gt = noisy_pair()
    with pytest.raises(ValueError, match="22x17 restored, 23x17 ground truth"):
        Scoring().measure(restored[:, 1:], gt)
    with pytest.raises(ValueError, match="23x17 is too small: SSIM needs 11x11 pixels inside a border of 4"):
        Scoring(border=4).measure(restored, gt)


def test_pictures_too_small_for_optical_flow_are_refused_where_it_is_wanted() -> None:
    with pytest.raises(ValueError, match="of 40x15 is too small: optical flow needs 16x16 pixels; leave out --temporal"):
        Scoring(temporal=True).check_size(15, 40)
    Scoring(temporal=True).check_size(16, 16)
    Scoring().check_size(15, 40)
