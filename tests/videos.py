"""Small video files for tests, written by PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

Frames = Sequence[NDArray[np.uint8]]

MILLISECONDS = Fraction(1, 1000)


def write_rgb(
    path: Path,
    frames: Frames,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    flip: bool = False,
) -> Path:
    """Encodes RGB frames (h, w, 3).

    Args:
        path: of the file; its suffix chooses the container.
        frames: of one size.
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        pixels: FFmpeg's name of the pixel format.
        times: when each frame is shown, in milliseconds; by default 25 a second.
        rotation: degrees, counter-clockwise, by which players turn the picture.
        flip: whether players mirror it as well, left to right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        if times:
            stream.codec_context.time_base = MILLISECONDS
        for n, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            if times:
                picture.pts, picture.time_base = times[n], MILLISECONDS
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def decode(path: Path) -> list[NDArray[np.uint8]]:
    """All frames by PyAV's own decoding from beginning to end, as luma (h, w) in 8 bits."""
    with av.open(path) as container:
        return [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in container.decode(video=0)]


def with_noise(source: Path, target: Path, packets: Sequence[int]) -> Path:
    """A copy of a video in which some packets, counted in the file's order, hold noise."""
    with av.open(source) as container, av.open(target, "w") as damaged:
        stream = damaged.add_stream_from_template(container.streams.video[0])
        for n, packet in enumerate(container.demux(video=0)):
            if packet.size == 0:
                continue
            kept: av.Packet[Any] = packet
            if n in packets:
                kept = av.Packet(np.random.default_rng(n).integers(0, 256, max(64, packet.size), np.uint8).tobytes())
                kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
            kept.stream = stream
            damaged.mux(kept)
    return target
