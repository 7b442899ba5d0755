"""Restores one segment of a job. A segment is the unit of resuming, and of work for other processes and machines."""

from collections.abc import Callable
from functools import lru_cache

import vapoursynth as vs

from vsedvr.atomic import whole_file
from vsedvr.restore.encode import encode_segment
from vsedvr.restore.facts import clock, reason
from vsedvr.restore.job import Job
from vsedvr.restore.output import restored_clip
from vsedvr.restore.source import source_clip

__all__ = ["release", "restore_segment"]

PREFETCH = 4
"""Number of frames that are requested at once, so that decoding and copying overlap with the network."""

MARGIN = 32
"""Number of frames before and after a segment that may influence its frames, as neighbours or for detecting scene cuts."""


def restore_segment(job: Job, number: int, on_frame: Callable[[], None] = lambda: None) -> None:
    """Restores and encodes one segment, and moves the file to its place when it is complete.

    The content of the file depends only on the job and the number, not on the process or the order of segments.

    Args:
        job: job to which the segment belongs.
        number: number of the segment, from 0.
        on_frame: called after each frame.

    Raises:
        ValueError: if a frame of the input is damaged; the message names it.
        OSError: if the file cannot be written.
    """
    try:
        _restore_segment(job, number, on_frame, ())
    except vs.Error as error:
        damaged = _damaged_frames(job, number)
        if not damaged:
            raise ValueError(f"segment {number} of {job.source.path} cannot be restored: {reason(error)}") from error
        if not job.settings.skip_damaged:
            n, why = next(iter(damaged.items()))
            raise ValueError(
                f"{job.source.path} is damaged: frame {n}, at {clock(job.source.time(n))}, cannot be read ({why}); "
                "skip_damaged (--skip-damaged) repeats the frame before it"
            ) from error
        _restore_segment(job, number, on_frame, tuple(damaged))


def _restore_segment(job: Job, number: int, on_frame: Callable[[], None], damaged: tuple[int, ...]) -> None:
    part, source = job.segments[number], job.source
    clip = _clip(_Same(job), damaged)[part.start : part.stop]
    with whole_file(job.path(number)) as path:
        frames = clip.frames(prefetch=PREFETCH, close=True, collect_garbage=False)
        encode_segment(frames, job.output, source.frame_rate, source.shape, path, on_frame)


def release() -> None:
    """Drops the model and the film of the last job, to free their memory."""
    _clip.cache_clear()


class _Same:
    """A job as key of the cache of clips. Jobs in the same folder have the same hash."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __hash__(self) -> int:
        return hash(self.job.folder)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.job == other.job


@lru_cache(maxsize=1)
def _clip(same: _Same, damaged: tuple[int, ...]) -> vs.VideoNode:
    """Makes the clip of the restored film. Building it loads the model, so it is cached from one segment to the next."""
    job = same.job
    clip = source_clip(job.source, job.settings, job.index)
    return restored_clip(_repeating(clip, damaged), job.source, job.settings, job.tile, job.output)


def _damaged_frames(job: Job, number: int) -> dict[int, str]:
    """Finds frames in and around a segment that cannot be read. Returns the reasons by frame number."""
    part = job.segments[number]
    clip = source_clip(job.source, job.settings, job.index)
    damaged = {}
    for n in range(max(part.start - MARGIN, 0), min(part.stop + MARGIN, clip.num_frames)):
        try:
            clip.get_frame(n).close()
        except vs.Error as error:
            damaged[n] = reason(error)
    return damaged


def _repeating(clip: vs.VideoNode, damaged: tuple[int, ...]) -> vs.VideoNode:
    """Replaces damaged frames by the last good frame before them, or by the first good one at the beginning."""
    if not damaged:
        return clip
    good = [n for n in range(damaged[0] - 1, damaged[-1] + 2) if n not in damaged and 0 <= n < clip.num_frames]
    replacements = [max((g for g in good if g < n), default=min(good, default=n)) for n in damaged]
    return clip.std.FreezeFrames(first=list(damaged), last=list(damaged), replacement=replacements)
