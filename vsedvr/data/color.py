"""Decoded video frames as 8-bit RGB: which matrix they are converted by, and how they are turned upright."""

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from vsedvr.data.picture import Frame

__all__ = ["to_rgb", "untagged_matrix", "upright"]

NO_MATRIX = (0, 2, 3)
"""FFmpeg's numbers of matrices that say nothing of a YUV frame: RGB, unspecified, reserved."""

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
"""Matrices that FFmpeg's scaler does not convert by, by FFmpeg's numbers."""

SD_LINES = 576
"""Lines up to which untagged video counts as SD."""


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Frame:
    """Converts a decoded frame by the matrix and range that it is tagged with, and by untagged_matrix where it has no tag.

    Args:
        frame: of any pixel format; alpha is dropped.
        reformatter: keeps what is the same for all frames of a video.

    Returns:
        (height, width, 3), as the frame is stored: not turned.

    Raises:
        ValueError: if FFmpeg does not convert by its matrix; the message names it.
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
    """The matrix of YUV video that does not tell: BT.709 above 576 lines (HD), BT.601 up to there (SD).

    Players, examples/restore.vpy and `vsedvr restore` go by the same rule, so evaluation sees the colours that they see.
    """
    return Colorspace.ITU709 if height > SD_LINES else Colorspace.ITU601


def upright(picture: Frame, frame: av.VideoFrame) -> Frame:
    """Turns and mirrors a picture as its frame's display matrix says, as players do. Phones store upright video lying.

    A matrix that turns by anything but a multiple of 90 degrees is passed over.

    Args:
        picture: the frame in RGB, (height, width, 3), as it is stored.
        frame: the decoded frame.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return picture
    (to_right, to_down), (down_to_right, down_to_down) = matrix.tolist()
    if to_right == 0:  # what goes to the right in the stored picture goes up or down in the shown one
        picture = picture.transpose(1, 0, 2)
        flip_x, flip_y = down_to_right < 0, to_down < 0
    else:
        flip_x, flip_y = to_right < 0, down_to_down < 0
    return np.ascontiguousarray(picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int_] | None:
    """Where one pixel to the right, and one pixel down, goes in the picture that is shown: ((x, y), (x, y)) of 0, 1 and -1."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / (1 << 16)
    rounded = np.rint(matrix).astype(int)
    straight = abs(rounded).sum(0).tolist() == abs(rounded).sum(1).tolist() == [1, 1]
    return rounded if straight and np.allclose(matrix, rounded, atol=0.01) else None
