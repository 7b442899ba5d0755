"""Converts decoded video frames to 8-bit RGB by the right matrix, and rotates them upright."""

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from vsedvr.data.picture import Frame

__all__ = ["to_rgb", "untagged_matrix", "upright"]

NO_MATRIX = (0, 2, 3)
"""FFmpeg's numbers of matrices that tell nothing about a YUV frame: RGB, unspecified, reserved."""

UNSUPPORTED = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE 2085",
    12: "derived from the primaries",
    13: "derived from the primaries, constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Names of the colour matrices that FFmpeg's scaler cannot convert by. The keys are FFmpeg's numbers of them."""

SD_LINES = 576
"""Largest number of lines with which untagged video counts as SD."""


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Frame:
    """Converts a decoded frame to RGB, by its tagged matrix and range, or by untagged_matrix if it has no tag.

    Args:
        frame: frame of any pixel format; alpha is dropped.
        reformatter: converter that is reused for all frames of a video.

    Returns:
        RGB (height, width, 3), uint8, as the frame is stored, which means not yet rotated.

    Raises:
        ValueError: if FFmpeg cannot convert by its matrix; the message names the matrix.
    """
    matrix: int = frame.colorspace
    if matrix in NO_MATRIX:
        matrix = untagged_matrix(frame.height)
    elif matrix in UNSUPPORTED and not frame.format.is_rgb:
        raise ValueError(f"its matrix ({UNSUPPORTED[matrix]}) is not supported; convert the video to BT.709 first")
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    rgb = reformatter.reformat(
        frame, format="rgb24", src_colorspace=matrix, src_color_range=frame.color_range, interpolation=exact
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def untagged_matrix(height: int) -> int:
    """Returns the matrix that is assumed for untagged YUV video: BT.709 above 576 lines (HD), otherwise BT.601 (SD).

    Players, examples/restore.vpy and `vsedvr restore` follow the same rule, so evaluation sees the colours that they show.
    """
    return Colorspace.ITU709 if height > SD_LINES else Colorspace.ITU601


def upright(picture: Frame, frame: av.VideoFrame) -> Frame:
    """Rotates and mirrors a picture as its frame's display matrix says, as players do. Phones store upright video sideways.

    A matrix that does not rotate by a multiple of 90 degrees is ignored.

    Args:
        picture: the frame in RGB, (height, width, 3), as it is stored.
        frame: the decoded frame.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return picture
    (to_right, to_down), (down_to_right, down_to_down) = matrix.tolist()
    if to_right == 0:  # a step to the right in the stored picture is a step up or down in the shown one
        picture = picture.transpose(1, 0, 2)
        flip_x, flip_y = down_to_right < 0, to_down < 0
    else:
        flip_x, flip_y = to_right < 0, down_to_down < 0
    return np.ascontiguousarray(picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int_] | None:
    """Returns where one pixel to the right, and one pixel down, go in the shown picture: ((x, y), (x, y)) of 0, 1 and -1."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / (1 << 16)
    rounded = np.rint(matrix).astype(int)
    straight = abs(rounded).sum(0).tolist() == abs(rounded).sum(1).tolist() == [1, 1]
    return rounded if straight and np.allclose(matrix, rounded, atol=0.01) else None
