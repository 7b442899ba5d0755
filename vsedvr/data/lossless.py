"""Writes lossless videos: FFV1 in Matroska, which VapourSynth's source filters read as RGB24."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import av

from vsedvr.atomic import whole_file
from vsedvr.data.picture import Frame

__all__ = ["lossless_video"]


class Write(Protocol):
    """A function that appends a frame, (height, width, 3), uint8, to a video."""

    def __call__(self, frame: Frame) -> None: ...


@contextmanager
def lossless_video(path: Path, height: int, width: int, rate: int = 25) -> Iterator[Write]:
    """Opens a video for writing, and gives a function that appends a frame (height, width, 3), uint8.

    The file appears at its path when the block ends without an error.

    Args:
        path: path of the file.
        height: height of the frames in pixels.
        width: width of the frames in pixels.
        rate: frames per second.
    """
    with whole_file(path) as temporary, av.open(temporary, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "bgr0"

        def write(frame: Frame) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))

        yield write
        container.mux(stream.encode(None))
