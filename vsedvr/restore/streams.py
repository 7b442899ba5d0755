"""Copies what accompanies the picture, without decoding: sound, subtitles, chapters, attachments and metadata.

Text subtitles that a file format does not take are converted: SRT and ASS for MP4, and MP4's own kind for Matroska.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from vsedvr.restore.encode import FORMATS
from vsedvr.restore.facts import Source, exact
from vsedvr.restore.video import film_stream, opened

__all__ = ["Companions", "find_companions", "kept_metadata"]

TEXT = {".mkv": "subrip", ".mp4": "mov_text", ".mov": "mov_text"}
"""Codec to which text subtitles are converted if the file format does not take theirs."""

OF_THE_FILE = (
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "duration",
    "bps",
    "number_of_",
    "_statistics_",
    "handler_name",
    "vendor_id",
)
"""Beginnings of metadata names that describe the file itself, not the film."""

USUAL_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo", "6 channels": "5.1", "8 channels": "7.1"}
"""Channel layouts that players assume, by FFmpeg's names for channels without positions."""


@dataclass(frozen=True)
class Cut:
    """The part of the film that is kept, in seconds on its container's clock."""

    start: Fraction
    """Time that becomes 0 in the result, in seconds."""
    end: Fraction | None
    """Time at which the part ends, in seconds; None for the end of the film."""
    cuts_start: bool
    """Whether the user cut off something before `start`."""


@dataclass
class Companions:
    """The streams that are copied into a film, and notes on what is left out."""

    suffix: str
    cut: Cut
    files: dict[str, dict[int, str]] = field(default_factory=dict)
    """Way to copy each stream, by file and stream number: "copy", "attach" or the codec to which it is converted."""
    metadata_from: str | None = None
    """File from which metadata and chapters are copied."""
    notes: list[str] = field(default_factory=list)
    """Sentences that the user should read, such as what is left out."""

    def add_to(self, out: OutputContainer, stack: ExitStack) -> "Iterator[tuple[Fraction, Packet[Any]]]":
        """Adds the streams to a file that is being written, and returns their packets.

        Args:
            out: file that is being written, which has its video stream already.
            stack: closes the opened files when it is closed.

        Returns:
            Packets with their decoding times in seconds, in order of time for each file.
        """
        sources = [_FileCopy(stack.enter_context(opened(path)), ways, out, self) for path, ways in self.files.items()]
        if self.metadata_from is not None:
            with opened(self.metadata_from) as container:
                out.metadata.update(kept_metadata(container.metadata))
                out.set_chapters(self._chapters(container))
        return (pair for source in sources for pair in source.packets())

    def _chapters(self, container: InputContainer) -> list[Any]:
        chapters = []
        for chapter in container.chapters():
            base = exact(chapter["time_base"])
            start = max(chapter["start"] * base - self.cut.start, Fraction(0))
            end = chapter["end"] * base - self.cut.start
            if self.cut.end is not None:
                end = min(end, self.cut.end - self.cut.start)
            if end > start:
                chapters.append({**chapter, "start": round(start / base), "end": round(end / base)})
        return chapters


def find_companions(source: Source, audio: str | None, suffix: str, cut: Cut) -> Companions:
    """Chooses what is copied into a file.

    Args:
        source: facts of the film.
        audio: a file whose sound replaces the film's, or None.
        suffix: suffix of the file to write; empty for a folder of pictures, into which nothing is copied.
        cut: the part of the film that is kept.

    Raises:
        ValueError: if a file cannot be read, or the new file cannot hold its sound.
    """
    found = Companions(suffix, cut)
    if not suffix:
        if source.kind == "video" or audio:
            found.notes.append("Sound and subtitles do not go into a folder of pictures.")
        return found
    if source.kind == "video":
        _choose(found, source.path, "picture" if audio else "all")
        found.metadata_from = source.path
    if audio is not None:
        _choose(found, audio, "sound")
    return found


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Returns metadata without names that describe the old file itself. MP4's "name" of a track becomes its "title"."""
    kept = {name: value for name, value in metadata.items() if not name.lower().startswith(OF_THE_FILE)}
    return {"title" if name == "name" else name: value for name, value in kept.items()}


def _choose(found: Companions, path: str, what: str) -> None:
    """Adds the streams of a file: all, all except sound (what = "picture"), or only the sound."""
    with opened(path) as container:
        film = None if what == "sound" else film_stream(container).index
        streams = [stream for stream in container.streams if stream.index != film]
        if what != "all":
            streams = [stream for stream in streams if (stream.type == "audio") == (what == "sound")]
        if what == "sound" and not streams:
            raise ValueError(f"{path} has no sound")
        ways = {stream.index: _way(path, stream, found.suffix) for stream in streams}
        for stream in streams:
            _report(found, path, stream, ways[stream.index])
    found.files[path] = {index: way for index, way in ways.items() if way is not None}


def _report(found: Companions, path: str, stream: Stream, way: str | None) -> None:
    """Notes what a stream loses.

    Raises:
        ValueError: if the file cannot hold a stream of sound.
    """
    kind, suffix = _codec_name(stream), found.suffix
    if way is None and stream.type == "audio":
        raise ValueError(
            f"sound of the kind {kind} ({path}, stream {stream.index}) does not go into {suffix} files; "
            "choose .mkv, which takes most, or give a file with sound of another kind (--audio)"
        )
    if way is None and kind != "bin_data":  # that is how MP4 keeps chapters, which are copied on their own
        found.notes.append(f"Left out, since {suffix} takes none: {stream.type} {kind}, stream {stream.index}.")
    if way in TEXT.values():
        found.notes.append(f"Subtitles in stream {stream.index} become {way}: {suffix} takes no {kind}.")


def _way(path: str, stream: Stream, suffix: str) -> str | None:
    """Decides how a stream gets into a file: "copy", "attach", the codec to which it is converted, or None for not at all."""
    if stream.type == "attachment" or (stream.disposition & Disposition.attached_pic and suffix == ".mkv"):
        return "attach" if suffix == ".mkv" else None
    if stream.type not in ("audio", "subtitle") and not stream.disposition & Disposition.attached_pic:
        return None
    if _takes(path, stream, suffix):
        return "copy"
    is_text = stream.type == "subtitle" and stream.codec_context is not None and stream.codec_context.codec.text_sub
    return TEXT[suffix] if is_text else None


def _takes(path: str, stream: Stream, suffix: str) -> bool:
    """Tells whether a file format can hold a stream, by writing a file in memory, for sound with its first packet.

    Some writers refuse a stream only when the file is closed.
    """
    try:
        with av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as scratch, opened(path) as container:
            copy = _add_copy(scratch, stream)
            scratch.start_encoding()
            if stream.type == "audio":
                packet = next((packet for packet in container.demux(stream.index) if packet.size), None)
                if packet is not None:
                    packet.stream = copy
                    scratch.mux(packet)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _add_copy(out: OutputContainer, stream: Stream) -> Any:
    """Adds a stream with the same codec to a file. Sound with unknown channel positions gets the usual layout."""
    copy: Any = out.add_stream_from_template(stream, opaque=True)
    if isinstance(stream, AudioStream) and stream.layout.name in USUAL_LAYOUTS:
        copy.codec_context.layout = USUAL_LAYOUTS[stream.layout.name]
    return copy


def _codec_name(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else stream.name or "unknown"


class _FileCopy:
    """Copies the streams of one file into another."""

    def __init__(self, container: InputContainer, ways: dict[int, str], out: OutputContainer, plan: Companions) -> None:
        self.container, self.plan = container, plan
        self.ways: dict[int, tuple[str, Stream]] = {}
        for index, way in ways.items():
            stream = container.streams[index]
            if way == "attach":
                _attach(stream, out)
                continue
            copy = _add_copy(out, stream) if way == "copy" else _converted(stream, out, way)
            copy.metadata.update(kept_metadata(stream.metadata))
            copy.disposition = stream.disposition
            self.ways[index] = way, copy

    def packets(self) -> "Iterator[tuple[Fraction, Packet[Any]]]":
        """Yields the packets, moved to the clock of the result, with their decoding times in seconds."""
        if not self.ways:
            return
        for packet in self.container.demux([self.container.streams[index] for index in self.ways]):
            if not packet.size or not self._keep(packet):
                continue
            way, copy = self.ways[packet.stream_index]
            converted = packet if way == "copy" else _convert(packet, copy)
            if converted is not None and converted.dts is not None:
                converted.stream = copy
                yield converted.dts * exact(converted.time_base), converted

    def _keep(self, packet: "Packet[Any]") -> bool:
        """Moves a packet to the clock of the result, and tells whether it belongs to the part that is kept."""
        cut, base = self.plan.cut, exact(packet.time_base)
        start = packet.pts if packet.pts is not None else packet.dts
        if start is None or (cut.end is not None and start * base >= cut.end):
            return False
        shift = round(cut.start / base)
        packet.dts = (start if packet.dts is None else packet.dts) - shift
        packet.pts = start = start - shift
        if not cut.cuts_start:
            # Matroska has no times before 0, except within the delay that an audio encoder declared
            return self.plan.suffix != ".mkv" or start * base >= -_run_up(packet.stream)
        if packet.stream.type == "subtitle" and start < 0 < start + (packet.duration or 0):
            packet.duration = start + (packet.duration or 0)
            packet.pts = packet.dts = start = 0
        return start >= 0


def _run_up(stream: Stream) -> Fraction:
    """Returns the seconds of sound that an encoder puts before the actual beginning, and players skip."""
    if not isinstance(stream, AudioStream):
        return Fraction(0)
    context = stream.codec_context
    return Fraction(context.initial_padding, context.sample_rate) + Fraction(1, 1000)


def _attach(stream: Stream, out: OutputContainer) -> None:
    """Copies an attachment, or a cover picture as an attachment."""
    if isinstance(stream, AttachmentStream):
        out.add_attachment(
            stream.metadata.get("filename", f"attachment{stream.index}"),
            stream.mimetype or "application/octet-stream",
            stream.data,
        )
        return
    with opened(stream.container.name) as container:
        data = bytes(next(packet for packet in container.demux(stream.index) if packet.size))
    kind = "png" if _codec_name(stream) == "png" else "jpeg"
    out.add_attachment(stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}"), f"image/{kind}", data)


def _converted(stream: Stream, out: OutputContainer, codec: str) -> Stream:
    """Adds a stream for converted text subtitles to a file."""
    context: Any = stream.codec_context
    context.open(strict=False)
    copy: Any = out.add_stream(codec)
    copy.codec_context.subtitle_header = context.subtitle_header
    copy.time_base = copy.codec_context.time_base = Fraction(1, 1000)
    return copy


def _convert(packet: "Packet[Any]", copy: Any) -> "Packet[Any] | None":
    """Converts a packet of text subtitles; None for the empty ones that MP4 has between texts."""
    text = packet.stream.codec_context.decode2(packet)
    if text is None or not len(text):
        return None
    converted: Packet[Any] = copy.codec_context.encode_subtitle(text)
    converted.pts = converted.dts = packet.pts
    converted.duration, converted.time_base = packet.duration, packet.time_base
    return converted
