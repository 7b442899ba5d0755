"""Reads a video file: its frames with bestsource, and the facts in its container with PyAV."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import vapoursynth as vs
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from vsedvr.restore.facts import Source, clock, colour, exact, hdr_metadata, reason

__all__ = ["film_stream", "opened", "read_film", "video_clip"]

NOT_A_FRAME_EACH = {"mpeg4", "vp8"}
"""Codecs with packets that are not shown, so that missing frames cannot be noticed by counting packets."""

NO_TIME = -(1 << 63)
"""Value of an unknown timestamp: FFmpeg's AV_NOPTS_VALUE."""

KNOW_THEIR_LENGTH = ("matroska", "mp4")
"""Names of file formats whose header has the exact length of the film."""


@contextmanager
def opened(path: str | Path) -> Iterator[InputContainer]:
    """Opens a file for reading, and closes it after the block.

    Raises:
        ValueError: if FFmpeg cannot read it; the message names it.
    """
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    with container:
        yield container


def film_stream(container: InputContainer) -> VideoStream:
    """Returns the video stream that is restored: the first that is not a cover picture.

    Raises:
        ValueError: if there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise ValueError(f"{container.name} has no video stream")


def read_film(path: str, index: Path | None, skip_damaged: bool) -> Source:
    """Reads the whole file once: counts its frames, and compares them with the packets of the container.

    Args:
        path: path of the file.
        index: path at which bestsource's index is kept, or None (see video_clip).
        skip_damaged: whether frames that cannot be decoded are listed in `missing`, instead of being an error.

    Raises:
        ValueError: if the file cannot be read, is cut off, or has damaged frames and they are not to be skipped.
    """
    with opened(path) as container:
        stream = film_stream(container)
        packets = _read_packets(container, stream)
        aspect = exact(stream.sample_aspect_ratio or 1)
        rate = exact(stream.average_rate or stream.guessed_rate or 25)
        codec = stream.codec_context.name
        name, number = container.format.name, stream.index
    with opened(path) as container:
        quarter_turn = _first_frame(container, film_stream(container)).rotation % 180 == 90
    clip, decoded, time_base = _bestsource(path, number, index)
    props = clip.get_frame(0).props
    timestamps, missing = _compare(packets.timestamps, decoded, codec, max(1, round(1 / rate / time_base)))
    if not skip_damaged:
        _refuse_damaged(path, packets, timestamps, missing, time_base)
    gaps = [b - a for a, b in pairwise(timestamps)]
    constant = not gaps or max(gaps) - min(gaps) <= 1
    if gaps:
        mean = Fraction(len(gaps), timestamps[-1] - timestamps[0]) / time_base
        rate = rate if constant and abs(rate / mean - 1) < Fraction(1, 100) else mean
    length = packets.last_duration or (gaps[-1] if gaps else max(1, round(1 / rate / time_base)))
    numbers = {timestamp: n for n, timestamp in enumerate(timestamps)}
    return Source(
        kind="video",
        path=path,
        width=clip.width,
        height=clip.height,
        format=clip.format.name,
        rate=rate.limit_denominator(100_000).as_integer_ratio(),
        constant_rate=constant,
        time_base=time_base.as_integer_ratio(),
        timestamps=timestamps,
        end=timestamps[-1] + length,
        origin=timestamps[0] if "mpeg" in name else 0,  # the clocks of transport and program streams start anywhere
        aspect=(1 / aspect if quarter_turn else aspect).as_integer_ratio(),
        props=colour(props),
        hdr=hdr_metadata(props),
        missing=missing,
        key_frames=sorted(numbers[pts] for pts in packets.key_frames if pts in numbers),
    )


def video_clip(path: str, missing: list[int], index: Path | None) -> vs.VideoNode:
    """Opens a file as a clip, rotated upright, in which each missing frame repeats the one before.

    Args:
        path: path of the file.
        missing: numbers of frames that cannot be decoded, rising; never 0.
        index: path at which bestsource's index is kept; with None it is not kept.
    """
    with opened(path) as container:
        number = film_stream(container).index
    clip, _, _ = _bestsource(path, number, index)
    for n in missing:
        repeated = clip[n - 1]
        clip = clip[:n] + repeated + clip[n:] if n < clip.num_frames else clip + repeated
    return clip


class _Packets(NamedTuple):
    """Facts that the packets of a film's container tell."""

    timestamps: list[int] | None
    """Timestamps of all frames in ticks, rising; None if the container does not give them all."""
    key_frames: list[int]
    """Timestamps in ticks of frames at which decoding can start."""
    last_duration: int
    """Duration of the last frame in ticks; 0 if it is not known."""
    read: Fraction
    """Length of the readable part of the file in seconds, over all its streams."""
    promised: Fraction
    """Length in seconds according to the file's header; 0 if the header only estimates it."""


def _read_packets(container: InputContainer, film: VideoStream) -> _Packets:
    timestamps: list[int | None] = []
    key_frames: list[int] = []
    last, last_duration = -1, 0
    start = end = Fraction(0)
    for packet in _until_damage(container):
        if packet.pts is not None and packet.time_base:
            at = packet.pts * exact(packet.time_base)
            start = min(start, at)
            end = max(end, at + (packet.duration or 0) * exact(packet.time_base))
        if packet.stream_index != film.index or not packet.size or packet.is_discard:
            continue
        timestamps.append(packet.pts)
        if packet.is_keyframe and packet.pts is not None:
            key_frames.append(packet.pts)
        if packet.pts is not None and packet.pts >= last:
            last, last_duration = packet.pts, packet.duration or 0
    known = [timestamp for timestamp in timestamps if timestamp is not None]
    complete = len(known) == len(timestamps) == len(set(known))
    knows = any(name in container.format.name for name in KNOW_THEIR_LENGTH)
    promised = Fraction(container.duration or 0, av.time_base) if knows else Fraction(0)
    return _Packets(sorted(known) if complete else None, key_frames, last_duration, end - start, promised)


def _first_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame:
    """Returns the first frame that can be decoded."""
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                return frame
        except av.error.FFmpegError:
            continue
    raise ValueError(f"no frame of {container.name} can be decoded")


def _until_damage(container: InputContainer) -> "Iterator[Packet[Any]]":
    """Yields the packets of all streams, up to the first that cannot be read. The length then shows that some are missing."""
    try:
        yield from container.demux()
    except av.error.FFmpegError:
        return


def _bestsource(path: str, track: int, index: Path | None) -> tuple[vs.VideoNode, list[int], Fraction]:
    """Opens a video with bestsource. Returns the clip, the timestamps of its frames in ticks, and the seconds per tick.

    Raises:
        ValueError: if it cannot be decoded at all.
    """
    cache: dict[str, Any] = {"cachemode": 0}
    if index is not None:
        index.parent.mkdir(parents=True, exist_ok=True)
        cache = {"cachemode": 4, "cachepath": str(index)}
    core = vs.core.core
    if not hasattr(core, "bs"):
        raise ValueError("bestsource is not there, which reads videos; pip install vapoursynth-bestsource brings it")
    logger = logging.getLogger("vapoursynth")
    logger.addFilter(_is_of_use)
    try:
        found = core.bs.VideoSource(path, track=track, exporttimestamps=1, showprogress=False, **cache)
    except vs.Error as error:
        raise ValueError(f"cannot decode {path}: {reason(error)}") from error
    finally:
        logger.removeFilter(_is_of_use)
    clip = found["clip"]
    if clip.format is None or not clip.width:
        raise ValueError(f"{path} changes its format or size; cut it into parts of one size first")
    timestamps = found["timestamps"]
    if isinstance(timestamps, int):  # a film of a single frame
        timestamps = [timestamps]
    return clip, list(timestamps), Fraction(found["timebasenum"], found["timebaseden"])


def _is_of_use(record: logging.LogRecord) -> bool:
    """Filters out a warning of VapourSynth: bestsource 22 returns timestamps although its signature does not declare them."""
    return "no return value(s) named" not in record.getMessage()


def _compare(expected: list[int] | None, decoded: list[int], codec: str, step: int) -> tuple[list[int], list[int]]:
    """Returns the timestamps of all frames in ticks, and the numbers of the frames that could not be decoded.

    Frames before the first that can be decoded are left out. They occur in films that were cut before a key frame, and no
    player shows them.

    Args:
        expected: timestamps of the packets, or None if they are not all known.
        decoded: timestamps of the frames that bestsource found; NO_TIME for unknown ones.
        codec: FFmpeg's name of the codec.
        step: ticks between frames, for frames whose time is not known.
    """
    if NO_TIME in decoded and expected is not None and len(expected) == len(decoded):
        return expected, []
    if expected is None or codec in NOT_A_FRAME_EACH or not set(decoded) <= set(expected):
        return _rising(decoded, step), []
    there = set(decoded)
    timestamps = [timestamp for timestamp in expected if timestamp >= decoded[0]]
    return timestamps, [n for n, timestamp in enumerate(timestamps) if timestamp not in there]


def _rising(timestamps: list[int], step: int) -> list[int]:
    """Fills in unknown timestamps. Repeated or falling ones, which broken files have, become one tick later than the last."""
    rising: list[int] = []
    for timestamp in timestamps:
        if timestamp == NO_TIME:
            rising.append(rising[-1] + step if rising else 0)
        else:
            rising.append(max(timestamp, rising[-1] + 1) if rising else timestamp)
    return rising


def _refuse_damaged(path: str, packets: _Packets, timestamps: list[int], missing: list[int], time_base: Fraction) -> None:
    way_out = "skip_damaged (--skip-damaged)"
    if missing:
        n = missing[0]
        more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        raise ValueError(
            f"{path} is damaged: frame {n}, at {clock(timestamps[n] * time_base)}, cannot be decoded{more}; "
            f"{way_out} repeats the frame before it"
        )
    if packets.promised - packets.read > Fraction(1, 4):
        raise ValueError(
            f"{path} is cut off or damaged: it should last {clock(packets.promised)} and can be read up to "
            f"{clock(packets.read)}, frame {len(timestamps) - 1}; {way_out} restores what is there"
        )
