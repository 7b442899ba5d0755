"""Encodes the frames of one segment into a file."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
import vapoursynth as vs
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vsedvr.restore.codecs import planar_name, vs_format
from vsedvr.restore.output import Output

__all__ = ["FORMATS", "check_encoder", "encode_segment", "raise_disk_error", "set_tags"]

FORMATS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov"}
"""FFmpeg's names of the file formats, by suffix."""

MOST_REORDERED = 64
"""Maximum number of frames that an encoder holds back in order to write others first."""

PLANES = {vs.RGB: (2, 0, 1)}
"""Order of VapourSynth's planes in FFmpeg's planar formats: FFmpeg stores RGB as GBR."""


def encode_segment(
    frames: Iterable[vs.VideoFrame], output: Output, rate: Fraction, aspect: Fraction, path: Path, on_frame: Callable[[], None]
) -> None:
    """Encodes frames into a file of their own, which begins with a key frame and does not depend on other files.

    Timestamps in the file only count the frames; the module join sets the real ones.

    Args:
        frames: frames in order, in the size and planar format of `output`.
        output: encoder, options and tags.
        rate: frames per second, by which the encoder distributes bits.
        aspect: width of a pixel divided by its height.
        path: path of the file.
        on_frame: called after each frame.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if the encoder refuses the frames or the options.
    """
    with open(path, "wb") as file:  # a file opened by Python: those opened by PyAV do not report a full disk when closed
        _encode(frames, output, rate, aspect, file, on_frame)


def check_encoder(output: Output, rate: Fraction, aspect: Fraction) -> None:
    """Encodes one black frame in memory, to find out early whether the encoder would refuse the settings.

    Raises:
        ValueError: if encoding fails; the message says why.
    """
    format = vs_format(output.pix_fmt)
    assert format is not None
    black = vs.core.std.BlankClip(width=output.width, height=output.height, format=format.id, length=1)
    _encode([black.get_frame(0)], output, rate, aspect, io.BytesIO(), lambda: None)


def set_tags(context: VideoCodecContext, output: Output, aspect: Fraction) -> None:
    """Sets colour tags and pixel aspect ratio of an encoder's or a stream's codec context."""
    props = output.props
    context.colorspace = props.get("_Matrix", 2)
    context.color_primaries = props.get("_Primaries", 2)
    context.color_trc = props.get("_Transfer", 2)
    if "_Range" in props:
        context.color_range = 2 if props["_Range"] else 1  # H.273: 1 is full; FFmpeg: 2 is
    if "_ChromaLocation" in props:
        context.chroma_sample_location = props["_ChromaLocation"] + 1  # FFmpeg's 0 is unspecified
    context.sample_aspect_ratio = aspect


def raise_disk_error(error: Exception) -> None:
    """Raises the OSError that caused an error of PyAV, such as that of a full disk; does nothing if there is none."""
    for origin in (error.__cause__, error.__context__):
        if isinstance(origin, OSError) and not isinstance(origin, av.error.FFmpegError):
            raise origin


def _encode(
    frames: Iterable[vs.VideoFrame],
    output: Output,
    rate: Fraction,
    aspect: Fraction,
    file: IO[bytes],
    on_frame: Callable[[], None],
) -> None:
    name = output.encoder.encoder
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 tells of errors only
    try:
        with av.open(file, "w", format=FORMATS[output.encoder.segment]) as container:
            stream = _add_stream(container, output, rate, aspect)
            for packet in _ordered(_packets(frames, stream, output, rate, on_frame), rate):
                container.mux(packet)
            unknown = dict(stream.codec_context.options)
    except av.error.FFmpegError as error:
        raise_disk_error(error)
        options = " ".join(f"{key}={value}" for key, value in output.options.items()) or "no options"
        raise ValueError(
            f"the encoder {name} does not work with {output.width}x{output.height} {output.pix_fmt} and {options}: "
            f"{error.strerror or error}{'; it needs an NVIDIA GPU with its driver' if 'nvenc' in name else ''}"
        ) from error
    if unknown:
        raise ValueError(f"the encoder {name} knows no option {', '.join(unknown)}")


def _packets(
    frames: Iterable[vs.VideoFrame], stream: VideoStream, output: Output, rate: Fraction, on_frame: Callable[[], None]
) -> "Iterator[Packet[VideoStream]]":
    """Encodes frames and yields the packets."""
    for number, frame in enumerate(frames):
        picture = _to_picture(frame, output.pix_fmt)
        picture.pts, picture.time_base = number, 1 / rate
        yield from stream.encode(picture)
        on_frame()
    yield from stream.encode(None)


def _ordered(packets: "Iterator[Packet[VideoStream]]", rate: Fraction) -> "Iterator[Packet[VideoStream]]":
    """Yields the packets with decoding times 0, 1, 2 and so on. Those that x265 sets are arbitrary for very short films."""
    for position, packet in enumerate(packets):
        packet.time_base = 1 / rate
        packet.dts = position - MOST_REORDERED
        yield packet


def _add_stream(container: OutputContainer, output: Output, rate: Fraction, aspect: Fraction) -> VideoStream:
    stream = container.add_stream(output.encoder.encoder, rate=rate, options=output.options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = output.width, output.height, output.pix_fmt
    context = stream.codec_context
    context.time_base = 1 / rate
    set_tags(context, output, aspect)
    return stream


def _to_picture(frame: vs.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """Copies a VapourSynth frame to an FFmpeg frame in the encoder's pixel format, without changing samples."""
    planar = planar_name(pix_fmt)
    picture = av.VideoFrame(frame.width, frame.height, planar)
    places = PLANES.get(frame.format.color_family, (0, 1, 2))
    for plane in range(frame.format.num_planes):
        samples = np.asarray(frame[plane])
        rows = _rows(picture.planes[places[plane]], samples.dtype)
        np.copyto(rows[:, : samples.shape[1]], samples)
    return picture if planar == pix_fmt else picture.reformat(format=pix_fmt)


def _rows(plane: av.video.plane.VideoPlane, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Returns an FFmpeg plane as a writable array, including the unused samples at the end of each row."""
    return np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
