"""What counts when models are measured, and the scores of a frame."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsedvr.compare.metrics import WINDOW, psnr, rgb_to_y, ssim

__all__ = ["Score", "Scoring"]


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


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
