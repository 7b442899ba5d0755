"""Stills that were read lately: a large JPEG takes longer to decode than all the rest of a sample."""

from collections import OrderedDict
from pathlib import Path

from vsedvr.data.clip import Frame, read_picture

__all__ = ["StillCache"]


class StillCache:
    """Reads pictures and keeps those used last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: of all pictures that are kept; a larger picture is read each time.
        """
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.pictures: OrderedDict[Path, Frame] = OrderedDict()
        """The one used last at the end."""

    def read(self, path: Path) -> Frame:
        """The picture (h, w, 3), uint8.

        Raises:
            ValueError and others: as clip.read_picture.
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
