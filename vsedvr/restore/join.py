"""Joins segments into one file, without encoding again.

Every frame gets the timestamp that it has in the source. Sound, subtitles and other streams are copied.
"""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vsedvr.restore.encode import FORMATS, raise_disk_error, set_tags
from vsedvr.restore.job import Job
from vsedvr.restore.matroska import RESERVED, complete_header
from vsedvr.restore.pictures import picture_names
from vsedvr.restore.streams import Companions, kept_metadata
from vsedvr.restore.video import film_stream, opened

__all__ = ["join_pictures", "join_video"]


def join_video(job: Job, companions: Companions, path: Path, suffix: str) -> None:
    """Writes the finished film.

    Args:
        job: job whose segments are all finished.
        companions: sound, subtitles and everything else to copy into the file.
        path: path of the file to write.
        suffix: suffix of the file format: .mkv, .mp4 or .mov.

    Raises:
        ValueError: if a segment is damaged; the message names it.
        OSError: if the file cannot be written.
    """
    order = [_display_order(job, number) for number in range(len(job.segments))]
    display = None if job.source.shape == 1 else job.source.shape * job.output.width / job.output.height
    try:
        with open(path, "wb") as file, ExitStack() as stack, av.open(file, "w", format=FORMATS[suffix]) as out:
            first = stack.enter_context(opened(job.path(0)))
            video = _add_video(out, first.streams.video[0], job, suffix)
            others = companions.add_to(out, stack)
            out.start_encoding()
            pictures = _film_packets(job, video, order)
            for _, packet in heapq.merge(pictures, others, key=lambda pair: pair[0]):
                out.mux(packet)
    except av.error.FFmpegError as error:
        raise_disk_error(error)
        raise ValueError(
            f"the segments and what goes with them do not join into a {suffix} file: {error.strerror or error}; "
            "all segments are kept, and another name for the output begins anew"
        ) from error
    if suffix == ".mkv" and (display or job.source.hdr):
        complete_header(path, display, job.source.hdr)


def join_pictures(job: Job, folder: Path) -> None:
    """Writes each frame as a PNG file, named after its source picture if there is one, else by its number.

    Raises:
        OSError: if a file cannot be written.
    """
    names = picture_names(job.source.path) if job.source.kind == "pictures" else None
    numbers = count(job.frames.start)
    for number in range(len(job.segments)):
        with opened(job.path(number)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    n = next(numbers)
                    (folder / f"{names[n] if names else f'{n - job.frames.start:08}'}.png").write_bytes(bytes(packet))


def _display_order(job: Job, number: int) -> list[int]:
    """Returns, for each packet of a segment, the position of its frame in the order of display."""
    expected = len(job.segments[number])
    with opened(job.path(number)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size and packet.pts is not None]
    if len(times) != expected or len(set(times)) != expected:
        raise ValueError(
            f"{job.path(number)} should have {expected} frames and has {len(times)}; "
            "delete it, and the same command restores it again"
        )
    places = {time: place for place, time in enumerate(sorted(times))}
    return [places[time] for time in times]


def _add_video(out: OutputContainer, template: VideoStream, job: Job, suffix: str) -> VideoStream:
    source = job.source
    stream = out.add_stream_from_template(template, opaque=True)
    if source.kind == "video":
        with opened(source.path) as container:
            film = film_stream(container)
            stream.metadata.update(kept_metadata(film.metadata))
            stream.disposition = film.disposition
    stream.time_base = source.seconds_per_tick
    context = stream.codec_context
    set_tags(context, job.output, source.shape)
    context.framerate = source.frame_rate if source.constant_rate else 0
    if suffix == ".mkv" and (source.shape != 1 or source.hdr):
        stream.metadata["title"] = stream.metadata.get("title", "") + RESERVED
    if suffix != ".mkv" and template.codec_context.name == "hevc":
        context.codec_tag = "hvc1"  # Apple's players want it; the headers are in the container
    return stream


def _film_packets(job: Job, stream: VideoStream, order: list[list[int]]) -> "Iterator[tuple[Fraction, Packet[VideoStream]]]":
    """Yields the packets of all segments, with timestamps of the source, each with its decoding time in seconds."""
    base = job.source.seconds_per_tick
    times = [
        timestamp - job.zero for timestamp in [*job.source.timestamps, job.source.end][job.frames.start : job.frames.stop + 1]
    ]
    places = [part.start - job.frames.start + k for part, places in zip(job.segments, order, strict=True) for k in places]
    # A frame is decoded this many places before it is shown: the smallest number with which no frame is late
    delay = max(position - place for position, place in enumerate(places))
    step = max(1, times[1] - times[0])
    decoded = [times[0] - (delay - k) * step for k in range(delay)] + times
    position = 0
    for number in range(len(job.segments)):
        with opened(job.path(number)) as container:
            for packet in container.demux(video=0):
                if not packet.size:
                    continue
                place = places[position]
                packet.time_base = base
                packet.pts, packet.dts, packet.duration = times[place], decoded[position], times[place + 1] - times[place]
                packet.stream = stream
                position += 1
                yield packet.dts * base, packet
