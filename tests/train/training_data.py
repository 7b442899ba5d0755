"""What several tests of training use: small videos, and a small training of a few seconds."""

from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from vsedvr.train.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def flat(color: tuple[int, int, int], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A frame of one colour, (3, height, width) in Y, U, V."""
    return np.broadcast_to(np.array(color, np.uint8)[:, None, None], (3, height, width)).copy()


def write_video(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """A lossless video of frames (3, h, w) in YUV 4:4:4."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[1:]
        stream.pix_fmt = "yuv444p"
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
