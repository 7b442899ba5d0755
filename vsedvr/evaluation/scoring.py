"""Scores of restored frames, and which pixels and frames are scored."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsedvr.compare.metrics import WINDOW, psnr, rgb_to_y, ssim

__all__ = ["Score", "Scoring"]


class Score(NamedTuple):
    """PSNR and SSIM of a restored frame against the ground truth, or their means over several frames."""

    psnr: float
    """PSNR in dB, at most MAX_PSNR."""
    ssim: float
    """SSIM, at most 1, which equal pictures have."""


@dataclass(frozen=True)
class Scoring:
    """Rules of scoring: which pixels and frames are compared. Scores under different rules do not compare.

    The score of a clip is the mean over its frames, and that of a data set the mean over its clips, whatever their lengths.
    Equal pictures get 100 dB, which is the upper limit of PSNR (MAX_PSNR).
    """

    y_channel: bool = False
    """Whether luma (BT.601) is compared instead of the three colours."""
    border: int = 0
    """Width in pixels of a border that is left out on every side."""
    left_out: tuple[int, int] = (0, 0)
    """Numbers of frames that are left out at the beginning and at the end of a clip."""

    def counted(self, num_frames: int) -> range:
        """Returns the numbers of a clip's frames that are scored.

        Raises:
            ValueError: if there are none.
        """
        first, last = self.left_out
        if num_frames <= first + last:
            raise ValueError(f"of {num_frames} frames none is left: the first {first} and the last {last} do not count")
        return range(first, num_frames - last)

    def check_size(self, height: int, width: int) -> None:
        """Checks that enough of a picture is scored.

        Args:
            height, width: size of the picture in pixels.

        Raises:
            ValueError: if less than 11x11 pixels are scored, which SSIM needs.
        """
        if min(height, width) < 2 * self.border + WINDOW:
            raise ValueError(
                f"a picture of {width}x{height} is too small: SSIM needs {WINDOW}x{WINDOW} pixels inside a border of "
                f"{self.border}"
            )

    def measure(self, restored: NDArray[np.uint8], gt: NDArray[np.uint8]) -> Score:
        """Compares a restored frame with the ground truth.

        Args:
            restored: restored frame (h, w, 3) in RGB.
            gt: ground truth of the same size.

        Raises:
            ValueError: if they differ in size, or less than 11x11 pixels are scored.
        """
        if restored.shape != gt.shape:
            raise ValueError(f"pictures differ in size: {_size(restored)} restored, {_size(gt)} ground truth")
        self.check_size(*gt.shape[:2])
        inside = slice(self.border, -self.border or None)
        a, b = (rgb_to_y(picture) if self.y_channel else picture for picture in (restored, gt))
        return Score(psnr(a[inside, inside], b[inside, inside]), ssim(a[inside, inside], b[inside, inside]))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
