"""A cache of stills, because decoding a large JPEG takes longer than the rest of a sample."""

from collections import OrderedDict
from pathlib import Path

from vsedvr.data.clip import Frame, read_picture

__all__ = ["StillCache"]


class StillCache:
    """Reads pictures and keeps those used last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: maximum size in bytes of all pictures that are kept; a larger picture is read each time.
        """
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.pictures: OrderedDict[Path, Frame] = OrderedDict()
        """Kept pictures by path; the one used last is at the end."""

    def read(self, path: Path) -> Frame:
        """Returns the picture (h, w, 3), uint8.

        Raises:
            ValueError: if it cannot be read (see clip.read_picture).
        """
        if path in self.pictures:
            self.pictures.move_to_end(path)
            return self.pictures[path]
        picture = read_picture(path)
        if picture.nbytes <= self.max_bytes:
            self.pictures[path] = picture
            self.nbytes += picture.nbytes
        while self.nbytes > self.max_bytes:
            _, oldest = self.pictures.popitem(last=False)
            self.nbytes -= oldest.nbytes
        return picture
