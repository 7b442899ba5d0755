"""Scores of restored frames, and which pixels and frames are scored."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsedvr.compare.metrics import WINDOW, psnr, rgb_to_y, ssim

__all__ = ["FLOW_SIDE", "Score", "Scoring", "Temporal"]

FLOW_SIDE = 16
"""Minimum width and height in pixels of a picture for optical flow."""


class Temporal(NamedTuple):
    """Temporal consistency of a restored frame with the one before, or means over frames (see temporal.measure_temporal)."""

    tof: float
    """tOF: mean length, in pixels, of the difference between the optical flow and the ground truth's; 0 is best."""
    warped_difference: float
    """Mean squared difference to the frame before, warped by the truth's flow, 0 to 1 (black and white). Lower is steadier, but
    a value below gt_warped_difference means that the restored frames are smoother than the truth."""
    gt_warped_difference: float
    """Warped difference of the ground truth itself; an exact restoration has the same."""


class Score(NamedTuple):
    """PSNR and SSIM of a restored frame against the ground truth, or their means over several frames."""

    psnr: float
    """PSNR in dB, at most MAX_PSNR."""
    ssim: float
    """SSIM, at most 1, which equal pictures have."""
    temporal: Temporal | None = None
    """Temporal consistency with the frame before; None if it was not measured, or that frame belongs to another scene."""


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
    temporal: bool = False
    """Whether temporal consistency is measured too, for each two successive frames that are both scored."""

    @property
    def inside(self) -> slice:
        """Slice of the rows, and of the columns, that are scored."""
        return slice(self.border, -self.border or None)

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
            ValueError: if less than 11x11 pixels are scored, which SSIM needs, or it is too small for optical flow.
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
        """Returns the samples of a picture (h, w, 3) that are compared: its colours (h, w, 3), or its luma (h, w)."""
        return rgb_to_y(picture) if self.y_channel else picture

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
        a, b = (self.channels(picture)[self.inside, self.inside] for picture in (restored, gt))
        return Score(psnr(a, b), ssim(a, b))


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
