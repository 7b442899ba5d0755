"""What counts when models are measured, and the scores of a frame."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsedvr.compare.metrics import WINDOW, psnr, rgb_to_y, ssim

__all__ = ["FLOW_SIDE", "Score", "Scoring", "Temporal"]

FLOW_SIDE = 16
"""Pixels that a picture needs in each direction for optical flow."""


class Temporal(NamedTuple):
    """How well a restored frame agrees with the one before, or the mean of several frames (see temporal.measure_temporal)."""

    tof: float
    """tOF: mean length of the difference of the optical flow to the ground truth's, in pixels. From 0; lower is better."""
    warped_difference: float
    """Mean squared difference to the frame before, warped by the truth's flow; 0 to 1 (black and white). Lower is steadier, but
    what is below the truth's own warped difference is smoother than the truth."""
    gt_warped_difference: float
    """The warped difference of the ground truth itself, which nothing exact can be below."""


class Score(NamedTuple):
    """How near a restored frame is to the ground truth, or the mean of several frames."""

    psnr: float
    """PSNR in dB, at most MAX_PSNR."""
    ssim: float
    """SSIM, 1 for equal pictures."""
    temporal: Temporal | None = None
    """How the frame agrees with the one before; None where that was not measured, or there is no frame before in the scene."""


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
    temporal: bool = False
    """Whether temporal consistency is measured as well, of each two successive frames that both count."""

    @property
    def inside(self) -> slice:
        """The rows, and the columns, that count."""
        return slice(self.border, -self.border or None)

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
            ValueError: if less than 11x11 pixels of a picture count, which SSIM needs, or it is too small for optical flow.
        """
        if min(height, width) < 2 * self.border + WINDOW:
            raise ValueError(
                f"a picture of {width}x{height} is too small: SSIM needs {WINDOW}x{WINDOW} pixels inside a border of "
                f"{self.border}"
            )
        if self.temporal and min(height, width) < FLOW_SIDE:
            raise ValueError(
                f"a picture of {width}x{height} is too small: optical flow needs {FLOW_SIDE}x{FLOW_SIDE} pixels; "
                "leave out --temporal"
            )

    def channels(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8] | NDArray[np.float64]:
        """What is compared of a picture (h, w, 3): the three colours or, (h, w), the luma."""
        return rgb_to_y(picture) if self.y_channel else picture

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
        a, b = (self.channels(picture)[self.inside, self.inside] for picture in (restored, gt))
        return Score(psnr(a, b), ssim(a, b))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
