"""Reads pictures from files, with any kind of samples, as 8-bit RGB."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = ["Frame", "picture_size", "read_picture"]

Frame = NDArray[np.uint8]
"""An RGB picture (height, width, 3), uint8."""

ORIENTATION = 0x0112
"""EXIF's number of the orientation tag; with values from 5 on, height and width are exchanged."""

TO_RGB = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
"""Pillow's modes with up to 8 bits, which Pillow converts itself."""

FLOAT_SCALES = ((0, 2, 1), (32, 256, 255), (4096, 65536, 65535))
"""(smallest, largest, white): a float picture whose largest value lies between the first two has white at the third."""


def read_picture(path: Path) -> Frame:
    """Reads a picture as 8-bit RGB (height, width, 3), upright as its EXIF orientation says.

    Transparency is dropped, and the colours under it are kept. Grey pictures with more bits are converted to 8 bits by the
    scale that their values show:

        16-bit integers   65535 is white
        32-bit integers   255 is white if no value is above 255, else 65535
        float             1 is white if no value is above 2 (values above 1 are clipped); 255 if the largest value is
                          from 32 to 256; 65535 if it is from 4096 to 65536

    Raises:
        ValueError: if it cannot be read for any reason; the message names it. Reasons are: a damaged file, float values on
            another scale, several pictures in one file (animations, pages), more than 179 megapixels.
    """
    with _opened(path) as picture:
        if _is_sequence(picture):
            raise ValueError(f"it holds {getattr(picture, 'n_frames', 2)} pictures; save each in a file of its own")
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in TO_RGB:
            return np.asarray(picture.convert("RGB"))
        if picture.mode.startswith("I") or picture.mode == "F":
            return np.repeat(_to_8_bits(np.asarray(picture), picture.mode)[..., None], 3, 2)
        raise ValueError(f"pictures of mode {picture.mode} are not supported; convert it to RGB first")


def picture_size(path: Path) -> tuple[int, int]:
    """Returns (height, width) of a picture as read_picture would give it, from the header alone.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    with _opened(path) as picture:
        turned = picture.getexif().get(ORIENTATION, 1) >= 5
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens a picture, and turns every error in the block into a ValueError that names the file.

    Pillow raises errors of many types for damaged files.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large picture is no attack here
            warnings.filterwarnings("ignore", module="PIL")
            with Image.open(path) as picture:
                yield picture
    except Image.DecompressionBombError as error:
        raise ValueError(f"cannot read the picture {path}: it has too many pixels; cut it or make it smaller") from error
    except OSError as error:
        raise ValueError(f"cannot read the picture {path}: {error.strerror or error}") from error
    except Exception as error:
        raise ValueError(f"cannot read the picture {path}: {error or type(error).__name__}") from error


def _is_sequence(picture: Image.Image) -> bool:
    """Tells whether a file has further pictures of the same size, unlike a preview or the depth map that phones add."""
    if getattr(picture, "n_frames", 1) < 2:
        return False
    size = picture.size
    picture.seek(1)
    further = picture.size
    picture.seek(0)
    return size == further


def _to_8_bits(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Converts grey values to 8 bits by the table in read_picture."""
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    highest = max(0.0, float(values.max()))
    if mode.startswith("I;16"):
        white = 65535
    elif mode == "I":
        white = 255 if highest <= 255 else 65535
    else:
        scales = [white for low, high, white in FLOAT_SCALES if low <= highest <= high]
        if not scales:
            raise ValueError(f"its largest value is {highest:g}, which is on no known scale: white must be 1, 255 or 65535")
        (white,) = scales
    return np.rint(values.astype(np.float64) * (255 / white)).clip(0, 255).astype(np.uint8)
