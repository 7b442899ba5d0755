"""What will be done: the job of a fresh start, and the text of --dry-run."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import vapoursynth as vs

from vsedvr.restore.encode import check_encoder
from vsedvr.restore.facts import Source, clock
from vsedvr.restore.job import Job
from vsedvr.restore.output import choose_codec, plan_output
from vsedvr.restore.settings import RestoreSettings, parse_moment
from vsedvr.restore.source import read_source, source_clip
from vsedvr.restore.streams import Companions, Cut, find_companions
from vsedvr.restore.tiles import Room, choose_tile
from vsedvr.timeline import REACH, is_cut, segments

__all__ = ["companions_of", "plan_job"]


def plan_job(
    source_path: Path, output_path: Path, folder: Path, settings: RestoreSettings, index: Path | None, rooms: Sequence[Room]
) -> Job:
    """Everything that is decided before the first frame is restored.

    Args:
        source_path: what is restored.
        output_path: where the result will be.
        folder: where the segments will be kept.
        settings: what was asked for.
        index: where the index of a video is kept.
        rooms: of the processes that will restore.

    Raises:
        ValueError: if it cannot be done; the message says why and what to do.
    """
    codec = choose_codec(output_path, settings)
    source = read_source(source_path, settings, index)
    frames = choose_frames(source, settings)
    clip = source_clip(source, settings, index)
    tile = choose_tile(source, settings, rooms)
    output = plan_output(codec, source, clip, settings, tile)
    check_encoder(output, source.frame_rate, source.shape)
    length = max(1, round(settings.segment_seconds * source.frame_rate))
    parts = segments(frames, length, source.key_frames, lambda n: _starts_scene(clip, n))
    return Job(folder, source, settings, output, parts, tile)


def choose_frames(source: Source, settings: RestoreSettings) -> range:
    """Numbers of the frames from start to end.

    Raises:
        ValueError: if there are none.
    """
    start = 0 if settings.start is None else _number(source, settings.start)
    stop = source.num_frames if settings.end is None else min(_number(source, settings.end), source.num_frames)
    if start >= stop:
        raise ValueError(
            f"no frames lie between start {settings.start or 0} and end {settings.end or 'of the film'}; {source.path} has "
            f"{source.num_frames} frames and lasts {clock(source.time(source.num_frames) - source.time(0))}"
        )
    return range(start, stop)


def companions_of(job: Job, suffix: str) -> Companions:
    """What goes with the picture of a job into its file.

    Raises:
        ValueError: if sound does not go into such a file, or cannot be read.
    """
    source, base = job.source, job.source.seconds_per_tick
    end = source.time(job.frames.stop) if job.frames.stop < source.num_frames else None
    cut = Cut(job.zero * base, end, cuts_start=job.settings.start is not None)
    companions = find_companions(source, job.settings.audio, suffix, cut)
    if source.hdr and suffix != ".mkv" and job.output.encoder.hdr_option is None:
        companions.notes.append("HDR10's mastering display and light levels are lost here; .mkv keeps them with every codec.")
    return companions


def _number(source: Source, moment: str) -> int:
    """The frame that is meant, or the first that is shown at a time or after it."""
    parsed = parse_moment(moment)
    if isinstance(parsed, int):
        return parsed
    return bisect_left(source.timestamps, parsed / source.seconds_per_tick + source.origin)


def _starts_scene(clip: vs.VideoNode, n: int) -> bool:
    """Whether a cut lies before frame n, by the picture."""
    first, last = max(n - REACH - 1, 0), min(n + REACH + 1, clip.num_frames)
    luma = clip[first:last].resize.Point(format=vs.GRAY8, **({"matrix": 1} if clip.format.color_family == vs.RGB else {}))
    if n == 0 or luma.num_frames < 2:
        return False
    pairs = luma[1:].std.PlaneStats(luma[:-1], prop="_Luma")
    try:
        differences = [frame.props["_LumaDiff"] for frame in pairs.frames(close=False, collect_garbage=False)]
    except vs.Error:  # a damaged frame is reported when its segment is restored
        return False
    here = n - first - 1
    return is_cut(reversed(differences[:here]), differences[here], differences[here + 1 :])
