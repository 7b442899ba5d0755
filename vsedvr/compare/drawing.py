"""Draws labelled pictures side by side, for evaluation, inspection and the demo."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["GAP", "LABEL_HEIGHT", "labelled_row", "png"]

LABEL_HEIGHT = 24
"""Height in pixels of the name above a picture."""
GAP = 4
"""Width in pixels of the white space between pictures."""


def labelled_row(pictures: Mapping[str, NDArray[np.uint8]], enlarged: int = 1) -> Image.Image:
    """Puts pictures side by side, each below its name.

    Args:
        pictures: RGB pictures (h, w, 3) by name, all of the same size.
        enlarged: how many times to repeat each pixel in both directions, so that single pixels can be seen.
    """
    height, width = (enlarged * side for side in next(iter(pictures.values())).shape[:2])
    sheet = Image.new("RGB", ((width + GAP) * len(pictures) - GAP, height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (name, picture) in enumerate(pictures.items()):
        left = k * (width + GAP)
        draw.text((left + GAP, 3), name, fill="black", font_size=16)
        sheet.paste(Image.fromarray(picture.repeat(enlarged, 0).repeat(enlarged, 1)), (left, LABEL_HEIGHT))
    return sheet


def png(picture: Image.Image) -> bytes:
    """Encodes a picture as the content of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
