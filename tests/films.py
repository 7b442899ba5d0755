"""Small films for tests, made and read with PyAV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from conftest import moving_frames
from vsedvr.restore.facts import exact

VFR = [0, 40, 80, 133, 200, 210, 260, 300, 341, 400, 480, 500, 567, 600, 640, 680, 720, 760, 801, 840, 880, 920, 960, 1001]
"""Uneven timestamps in milliseconds, as phones and screen recorders write them."""
SRT = "1\n00:00:00,100 --> 00:00:00,500\n<i>Hello</i> wörld\n\n2\n00:00:00,600 --> 00:00:00,900\nSecond\nline\n\n"


def make_film(
    path: Path,
    times: Sequence[int] = tuple(range(0, 480, 40)),
    *,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    aspect: Fraction | None = None,
    rotation: int = 0,
    tags: Mapping[str, int] | None = None,
    sound: str | None = None,
    rich: bool = False,
    frames: Sequence[NDArray[np.uint8]] | None = None,
) -> Path:
    """A film of a texture that moves, one frame at each time.

    Args:
        path: of the file.
        times: of the frames, in units of the time base.
        size: (height, width).
        codec, pix_fmt, options: of the video encoder.
        time_base: seconds of a unit.
        aspect: of the pixels.
        rotation: of the display, in degrees counter-clockwise.
        tags: attributes of the encoder such as colorspace.
        sound: an audio codec, for 1 second of a tone; sound only where it is given.
        rich: with two languages of sound, subtitles, chapters, an attachment and metadata (Matroska only).
        frames: instead of the texture.
    """
    frames = frames or moving_frames(len(times), *size)
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(codec, rate=25, options=dict(options or {}))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        tones = [out.add_stream(sound, rate=48000)] if sound else []
        texts = None
        if rich:
            tones.append(out.add_stream(sound or "aac", rate=48000))
            tones[0].metadata.update(language="ger", title="Ton")
            tones[1].metadata.update(language="eng", title="Commentary")
            tones[1].disposition = av.stream.Disposition.comment
            video.metadata.update(title="Picture", language="fre")
            out.metadata.update(title="A film", artist="Somebody")
            srt = path.with_suffix(".srt")
            srt.write_text(SRT)
            texts = av.open(str(srt))
            subtitles = out.add_stream_from_template(texts.streams.subtitles[0])
            subtitles.metadata["language"] = "spa"
            subtitles.disposition = av.stream.Disposition.forced
            out.add_attachment("font.ttf", "font/ttf", b"not really a font")
            chapters: Any = [
                {"id": k + 1, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for k, (start, end, title) in enumerate([(0, 400, "One"), (400, 1000, "Two")])
            ]
            out.set_chapters(chapters)
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts, picture.time_base = time, time_base
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        for tone in tones:
            out.mux(list(_tone(tone)))
        if texts is not None:
            for packet in texts.demux():
                if packet.size:
                    packet.stream = subtitles
                    out.mux(packet)
            texts.close()
    return path


def _tone(stream: Any) -> Any:
    samples = (np.sin(np.arange(48000) * 440 * 2 * np.pi / 48000) * 8000).astype(np.int16)
    for start in range(0, len(samples), 1000):
        part = np.repeat(samples[start : start + 1000], 2)[None]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@dataclass
class Film:
    """Content of a film file, as PyAV reads it."""

    times: list[Fraction]
    """Times of the frames, in seconds."""
    frames: list[av.VideoFrame]
    video: dict[str, Any]
    packets: dict[int, list[tuple[Fraction, bytes]]]
    """(time, content) of the packets of all other streams, by the number of the stream."""
    streams: list[tuple[str, str, dict[str, str], int]]
    """(type, codec, metadata, disposition) of each stream."""
    metadata: dict[str, str]
    chapters: list[tuple[Fraction, Fraction, str]]


def read_film(path: Path) -> Film:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        facts = {
            "size": (context.height, context.width),
            "pix_fmt": context.pix_fmt,
            "codec": context.codec.canonical_name,
            "tag": context.codec_tag,
            "aspect": exact(video.sample_aspect_ratio or 1),
            "colour": (context.color_range, context.colorspace, context.color_primaries, context.color_trc),
            "chroma": context.chroma_sample_location,
            "rate": exact(video.average_rate or 0),
        }
        streams = [
            (str(s.type), s.codec_context.name if s.codec_context else "", dict(s.metadata), int(s.disposition))
            for s in container.streams
        ]
        chapters = [
            (c["start"] * exact(c["time_base"]), c["end"] * exact(c["time_base"]), c["metadata"].get("title", ""))
            for c in container.chapters()
        ]
        metadata = dict(container.metadata)
    with av.open(str(path)) as container:
        packets: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in list(container.streams)[1:]}
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.stream_index in packets:
                packets[packet.stream_index].append((packet.pts * exact(packet.time_base), bytes(packet)))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [(frame.pts or 0) * exact(frame.time_base) for frame in frames]
    return Film(times, frames, facts, packets, streams, metadata, chapters)


def planes(frame: vs.VideoFrame) -> list[NDArray[Any]]:
    return [np.array(frame[plane]) for plane in range(frame.format.num_planes)]


def decoded_planes(path: Path) -> list[list[NDArray[Any]]]:
    """Returns the planes of every frame, as bestsource decodes them."""
    clip = vs.core.bs.VideoSource(str(path), cachemode=0, showprogress=False)
    return [planes(frame) for frame in clip.frames(close=False, collect_garbage=False)]


def video_packets(path: Path) -> list[tuple[int | None, int | None, bytes]]:
    """Returns timestamps and content of every packet of the video."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.dts, bytes(packet)) for packet in container.demux(video=0) if packet.size]
