"""PSNR and SSIM as the papers count them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_PSNR", "Score", "Scoring", "psnr", "rgb_to_y", "ssim"]

Picture = NDArray[np.uint8] | NDArray[np.floating]
"""(h, w) or (h, w, 3), on a scale of 255."""

MAX_PSNR = 100.0
"""PSNR of equal pictures in dB, and the most that any pair of pictures gets. By the formula it would be infinite, and one black
frame would hide all other frames in a mean. A single sample of a 720p frame that is off by 1 has 112 dB."""

WINDOW = 11
"""Pixels that SSIM compares at a time, in each direction."""


class Score(NamedTuple):
    """How near a restored frame is to the ground truth, or the mean of several frames."""

    psnr: float
    """PSNR in dB, at most MAX_PSNR."""
    ssim: float
    """SSIM, 1 for equal pictures."""


@dataclass(frozen=True)
class Scoring:
    """What is counted, and of which pixels and frames. Scores that are counted in different ways do not compare.

    The score of a clip is the mean over its frames, that of a data set the mean over its clips, whatever their lengths. Equal
    pictures count as 100 dB, and PSNR is capped there (MAX_PSNR).
    """

    y_channel: bool = False
    """Whether luma (BT.601) is compared instead of the three colours."""
    border: int = 0
    """Pixels at every side that do not count."""
    left_out: tuple[int, int] = (0, 0)
    """Frames at the beginning and at the end of a clip that do not count."""

    def counted(self, num_frames: int) -> range:
        """The frames of a clip that count.

        Raises:
            ValueError: if none is left.
        """
        first, last = self.left_out
        if num_frames <= first + last:
            raise ValueError(f"of {num_frames} frames none is left: the first {first} and the last {last} do not count")
        return range(first, num_frames - last)

    def check_size(self, height: int, width: int) -> None:
        """Looks whether enough of a picture counts.

        Raises:
            ValueError: if less than 11x11 pixels of a picture count, which SSIM needs.
        """
        if min(height, width) < 2 * self.border + WINDOW:
            raise ValueError(
                f"a picture of {width}x{height} is too small: SSIM needs {WINDOW}x{WINDOW} pixels inside a border of "
                f"{self.border}"
            )

    def measure(self, restored: NDArray[np.uint8], gt: NDArray[np.uint8]) -> Score:
        """Compares a restored frame with the ground truth.

        Args:
            restored, gt: (h, w, 3), RGB.

        Raises:
            ValueError: if they differ in size, or less than 11x11 pixels count.
        """
        if restored.shape != gt.shape:
            raise ValueError(f"pictures differ in size: {_size(restored)} restored, {_size(gt)} ground truth")
        self.check_size(*gt.shape[:2])
        inside = slice(self.border, -self.border or None)
        a, b = (rgb_to_y(picture) if self.y_channel else picture for picture in (restored, gt))
        return Score(psnr(a[inside, inside], b[inside, inside]), ssim(a[inside, inside], b[inside, inside]))


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


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
