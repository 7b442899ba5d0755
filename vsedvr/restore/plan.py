"""Plans a new job: everything that is decided before the first frame is restored."""

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
    """Plans a new job: everything that is decided before the first frame is restored.

    Args:
        source_path: path of the source.
        output_path: path of the result.
        folder: folder in which segments are kept.
        settings: settings of the user.
        index: path at which the index of a video file is kept, or None.
        rooms: device and memory of each process that restores.

    Raises:
        ValueError: if the film cannot be restored with these settings; the message says why and what to do.
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
    """Returns the numbers of the frames from start to end, as the settings say.

    Raises:
        ValueError: if there are no frames in between.
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
    """Chooses the sound, subtitles and other streams that are copied into the file of a job.

    Raises:
        ValueError: if sound cannot be stored in this file format, or cannot be read.
    """
    source, base = job.source, job.source.seconds_per_tick
    end = source.time(job.frames.stop) if job.frames.stop < source.num_frames else None
    cut = Cut(job.zero * base, end, cuts_start=job.settings.start is not None)
    companions = find_companions(source, job.settings.audio, suffix, cut)
    if source.hdr and suffix != ".mkv" and job.output.encoder.hdr_option is None:
        companions.notes.append("HDR10's mastering display and light levels are lost here; .mkv keeps them with every codec.")
    return companions


def _number(source: Source, moment: str) -> int:
    """Returns the frame number that `moment` gives, or the number of the first frame that is shown at or after this time."""
    parsed = parse_moment(moment)
    if isinstance(parsed, int):
        return parsed
    return bisect_left(source.timestamps, parsed / source.seconds_per_tick + source.origin)


def _starts_scene(clip: vs.VideoNode, n: int) -> bool:
    """Tells whether the pictures show a scene cut just before frame n."""
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
