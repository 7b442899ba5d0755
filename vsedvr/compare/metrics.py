"""PSNR and SSIM, which tell how close a picture is to its ground truth, as the papers compute them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_PSNR", "WINDOW", "Picture", "psnr", "rgb_to_y", "ssim"]

Picture = NDArray[np.uint8] | NDArray[np.floating]
"""A picture (h, w) or (h, w, 3), on a scale of 255."""

MAX_PSNR = 100.0
"""PSNR of equal pictures in dB, and upper bound for all pairs of pictures. The formula gives infinity for equal pictures, so
that one black frame would decide the mean of a clip. For comparison: one sample of a 720p frame off by 1 gives 112 dB."""

WINDOW = 11
"""Width and height in pixels of the window in which SSIM compares pictures."""


def psnr(restored: Picture, gt: Picture) -> float:
    """Returns the peak signal-to-noise ratio, 10 log10(255^2 / MSE) in dB, with the mean over all pixels and channels.

    Args:
        restored: restored picture, (h, w) or (h, w, 3), on a scale of 255.
        gt: ground truth of the same shape.

    Returns:
        PSNR in dB, at most MAX_PSNR, which equal pictures get.
    """
    mse = float(np.square(restored.astype(np.float64) - gt).mean())
    return min(float(10 * np.log10(255**2 / mse)), MAX_PSNR) if mse else MAX_PSNR


def ssim(restored: Picture, gt: Picture) -> float:
    """Returns the mean structural similarity (Wang et al., 2004), with a Gaussian window of 11x11 pixels and sigma 1.5.

    Positions at which the window does not fit into the picture are left out. With three channels it is the mean over channels.

    Args:
        restored: restored picture, (h, w) or (h, w, 3), on a scale of 255.
        gt: ground truth of the same shape.

    Returns:
        SSIM, from -1 to 1; equal pictures have 1.
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
    """Converts RGB (h, w, 3), 0..255, to the luma of BT.601 (h, w) in limited range, 16..235, like MATLAB's rgb2ycbcr.

    Unlike there, the result is not rounded.
    """
    return rgb @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
