"""How near a picture is to its ground truth: PSNR and SSIM as the papers count them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_PSNR", "WINDOW", "Picture", "psnr", "rgb_to_y", "ssim"]

Picture = NDArray[np.uint8] | NDArray[np.floating]
"""(h, w) or (h, w, 3), on a scale of 255."""

MAX_PSNR = 100.0
"""PSNR of equal pictures in dB, and the most that any pair of pictures gets. By the formula it would be infinite, and one black
frame would hide all other frames in a mean. A single sample of a 720p frame that is off by 1 has 112 dB."""

WINDOW = 11
"""Pixels that SSIM compares at a time, in each direction."""


def psnr(restored: Picture, gt: Picture) -> float:
    """10 log10(255^2 / MSE) in dB, the mean taken over all pixels and channels; at most MAX_PSNR, which equal pictures have."""
    mse = float(np.square(restored.astype(np.float64) - gt).mean())
    return min(float(10 * np.log10(255**2 / mse)), MAX_PSNR) if mse else MAX_PSNR


def ssim(restored: Picture, gt: Picture) -> float:
    """Mean structural similarity (Wang et al., 2004): Gaussian window of 11x11, sigma 1.5, only where it fits in.

    In three channels it is the mean of theirs.
    """
    from skimage.metrics import structural_similarity  # here, so that the help of a command needs no scikit-image

    value = structural_similarity(
        restored,
        gt,
        data_range=255,
        channel_axis=2 if gt.ndim == 3 else None,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def rgb_to_y(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(h, w, 3) -> (h, w): luma of BT.601 in limited range, 16..235, as MATLAB's rgb2ycbcr but not rounded."""
    return rgb @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
