"""Encodes the pictures of a page, within a maximum number of bytes."""

import base64
import io

from PIL import Image

from vsedvr.compare.choice import closest
from vsedvr.data.picture import Frame

__all__ = ["Pictures", "data_uri", "thumbnail"]

MAX_SIDE = 16383
"""Maximum width and height of a WebP picture in pixels. Browsers show no larger ones either."""

THUMBNAIL = (160, 90)
"""Maximum (width, height) of a thumbnail in pixels."""


FRAME_BYTES = 9_000
"""Upper bound in bytes of what a frame takes besides its pictures: its thumbnail and its place in lists."""


class Pictures:
    """Pictures of some frames in some versions, as lossless WebP. If they would be too large in all, frames are left out."""

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: maximum size in bytes of all encoded pictures.
        """
        self.max_bytes = max_bytes
        self.by_frame: dict[int, dict[str, bytes]] = {}
        """Encoded pictures, by frame number and version's name."""
        self.left_out: set[int] = set()
        """Numbers of the frames that are left out for lack of room."""

    def add(self, n: int, name: str, picture: Frame) -> None:
        """Encodes the picture of a frame, unless the frame is left out. Another frame may be left out to make room for it.

        Args:
            n: number of the frame.
            name: name of the version.
            picture: RGB picture (h, w, 3) in 0..255.

        Raises:
            ValueError: if the picture is too large for a page, or there is no room for a single frame.
        """
        if n in self.left_out:
            return
        self.by_frame.setdefault(n, {})[name] = _webp(picture)
        while self.nbytes > self.max_bytes:
            if len(self.by_frame) == 1:
                raise ValueError(
                    f"the pictures of a single frame take more than {self.max_bytes / 1e6:.1f} MB; allow a larger page "
                    "(--max-size), or compare fewer versions"
                )
            least = closest(list(self.by_frame))
            del self.by_frame[least]
            self.left_out.add(least)

    @property
    def nbytes(self) -> int:
        """Size in bytes of all frames so far."""
        contents = (content for pictures in self.by_frame.values() for content in pictures.values())
        return FRAME_BYTES * len(self.by_frame) + sum(map(len, contents))


def thumbnail(content: bytes) -> bytes:
    """Makes a small JPEG from an encoded picture."""
    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB")
    small.thumbnail(THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    return file.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Returns a data URI, an address that contains the whole picture.

    Args:
        kind: "webp" or "jpeg".
        content: content of the picture file.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _webp(picture: Frame) -> bytes:
    height, width = picture.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise ValueError(
            f"a picture of {width}x{height} is too large for a page, which shows {MAX_SIDE} pixels in each direction"
        )
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, quality=20, method=1)  # four times as fast as the default
    return file.getvalue()
