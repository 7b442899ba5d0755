"""Video files that keep every bit: FFV1 in Matroska, which VapourSynth's source filters read as RGB24."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import av

from vsedvr.atomic import whole_file
from vsedvr.data.picture import Frame

__all__ = ["lossless_video"]


class Write(Protocol):
    """A function that appends a frame to a video."""

    def __call__(self, frame: Frame) -> None: ...


@contextmanager
def lossless_video(path: Path, height: int, width: int, rate: int = 25) -> Iterator[Write]:
    """Gives a function that appends a frame (height, width, 3). The file appears when it is complete."""
    with whole_file(path) as temporary, av.open(temporary, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "bgr0"

        def write(frame: Frame) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))

        yield write
        container.mux(stream.encode(None))
