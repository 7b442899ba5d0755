"""Restores a film from beginning to end: the function `restore`."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vsedvr.atomic import whole_file, whole_folder
from vsedvr.restore.dry_run import describe
from vsedvr.restore.job import Job, find_job, locked, parts_folder, start_job
from vsedvr.restore.join import join_pictures, join_video
from vsedvr.restore.plan import companions_of, plan_job
from vsedvr.restore.segment import restore_segment
from vsedvr.restore.settings import RestoreSettings, Workers, device_indices
from vsedvr.restore.streams import Companions
from vsedvr.restore.tiles import room_of

if TYPE_CHECKING:
    from vsedvr.restore.team import Team

__all__ = ["Status", "parts_folder", "plan_text", "restore", "restore_film"]


@dataclass(frozen=True)
class Status:
    """Progress of a film."""

    stage: str
    """Current stage: "reading", "sending" (the input, to a cluster), "restoring", "waiting for a worker" (if all have left the
    cluster) or "joining"."""
    done: int = 0
    """Number of restored frames, including those of an earlier run."""
    frames: int = 0
    """Total number of frames; 0 while it is not known."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read about the result, such as what was left out."""


def restore(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "small",
    refine: str | os.PathLike[str] | None = None,
    ensemble: int = 1,
    device: str | int | None = None,
    precision: str | None = None,
    tile: tuple[int, int] | None = None,
    matrix: str | None = None,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    encoder_options: Mapping[str, str] | None = None,
    height: int | None = None,
    scale: float | None = None,
    start: str | int | None = None,
    end: str | int | None = None,
    fps: str | float | None = None,
    audio: str | os.PathLike[str] | None = None,
    skip_damaged: bool = False,
    segment_seconds: float = 10.0,
    jobs: int | None = None,
    cluster: str | None = None,
    ship: bool = False,
    overwrite: bool = False,
    restart: bool = False,
    on_progress: Callable[[Status], None] = lambda status: None,
) -> None:
    """Restores a film into a file, with its sound, subtitles and all other streams.

    Finished segments are kept in the folder `output`.parts. If the process ends early for any reason, the same call continues
    where it stopped, and the result is the same as without the interruption. The folder is removed when the film is done.

    Args:
        source: a video file, a folder of pictures, or a VapourSynth script (.vpy), whose output 0 is restored.
        output: a file that ends in .mkv, .mp4 or .mov, or a name without suffix for a folder of PNG pictures.
        model: name of an embedded or published model, or path of an EDVR checkpoint.
        refine: a second model, which restores the result of the first again. It keeps the size.
        ensemble: number of versions of each frame that are restored. The result is their mean: 1 is the frame alone, 4 its
            flips, 8 the flips and their transposes. A little better, but it takes 4 or 8 times the time.
        device: "cpu", or the number of a GPU; by default the first GPU, or the CPU if there is none. "0,1" restores on two
            GPUs, with a process for each.
        precision: "fp32", "fp16" or "bf16"; by default fp16 on a GPU and fp32 on a CPU.
        tile: (width, height) in pixels of the tiles in which frames are restored; by default the largest that fit in memory.
        matrix: matrix of a YUV source, one of MATRICES, instead of the source's own. By default, a source that does not tell
            its matrix is treated as players do: BT.709 if it has more than 576 lines, otherwise BT.601.
        codec: x264 (the default), x265, svtav1, ffv1, prores, h264_nvenc, hevc_nvenc or av1_nvenc.
        crf: quality for the encoder: lower is better and makes larger files. By default 17 with x264.
        preset: speed of the encoder, as it names it.
        pix_fmt: FFmpeg's name of the pixel format; by default the one nearest to the source's.
        encoder_options: more options of FFmpeg's encoder, by name.
        height: height of the result in pixels; restored frames are resized to it.
        scale: size of the result as a multiple of the source's, instead of height.
        start: first frame to restore: a frame number (250) or a time ("1:02:03.5", "90s").
        end: where to stop, as frame number or time; the frame there is no longer restored.
        fps: frames per second of a folder of pictures.
        audio: a file whose sound replaces the source's.
        skip_damaged: replace frames that cannot be read by the frame before, instead of raising an error.
        segment_seconds: approximate length of a segment in seconds. An interruption loses at most one segment of work.
        jobs: number of processes on this machine that restore segments at the same time; they share its devices. A script
            that calls this must do so under `if __name__ == "__main__":`, since the processes import it, too.
        cluster: address of a scheduler of dask.distributed, such as "tcp://192.168.1.2:8786". All its workers restore,
            including those that join later.
        ship: send the input and the models to workers of the cluster that cannot see the files.
        overwrite: replace an existing output.
        restart: discard an earlier, unfinished job for this output.
        on_progress: called with a Status after each frame.

    Raises:
        ValueError: if the film cannot be restored; the message says why and what to do.
        FileExistsError: if the output exists already.
        BlockingIOError: if another process is restoring into the output.
        ConnectionError: if there is no cluster at the address, or it has no workers, or the connection is lost.
        ChildProcessError: if a segment is given up, because its workers died.
        OSError: if a file cannot be read or written.
    """
    settings = RestoreSettings(
        model=os.fspath(model),
        refine=_text(refine),
        ensemble=ensemble,
        device=_text(device),
        precision=precision,
        tile=tile,
        matrix=matrix,
        codec=codec,
        crf=crf,
        preset=preset,
        pix_fmt=pix_fmt,
        encoder_options=dict(encoder_options) if encoder_options else None,
        height=height,
        scale=scale,
        start=_text(start),
        end=_text(end),
        fps=_text(fps),
        audio=_text(audio),
        skip_damaged=skip_damaged,
        segment_seconds=segment_seconds,
    )
    workers = Workers(jobs=jobs, cluster=cluster, ship=ship)
    restore_film(Path(source), Path(output), settings, workers, overwrite, restart, on_progress)


def restore_film(
    source: Path,
    output: Path,
    settings: RestoreSettings,
    workers: Workers,
    overwrite: bool,
    restart: bool,
    on_progress: Callable[[Status], None],
) -> None:
    """Restores a film, as `restore` does, with its arguments in two objects.

    Raises:
        As `restore`.
    """
    source = source.absolute()  # the same command may be given in another folder later
    check_output(source, output, overwrite)
    folder = parts_folder(output)
    with locked(folder):
        try:
            if restart:
                _clear(folder)
            on_progress(Status("reading"))
            job = find_job(folder, source, settings)
            if job is None or job.missing():
                with _team(workers, settings) as team:
                    job = job or _new_job(source, output, folder, settings, team)
                    _restore_segments(job, companions_of(job, output.suffix.lower()).notes, team, on_progress)
            companions = companions_of(job, output.suffix.lower())
            on_progress(Status("joining", len(job.frames), len(job.frames)))
            joined = _join(job, companions, output)
            check_output(source, output, overwrite)  # again: it may have appeared meanwhile
            _put(joined, output, folder)
        finally:
            if not (folder / "job.json").exists():
                shutil.rmtree(folder, ignore_errors=True)


def check_output(source: Path, output: Path, overwrite: bool) -> None:
    """Makes sure that writing to the output loses nothing.

    Raises:
        FileExistsError: if the output exists, and may not be overwritten.
        ValueError: if it is the source, or a folder that holds other files than pictures.
    """
    if not output.exists():
        return
    if source.exists() and output.samefile(source):
        raise ValueError(f"{output} is the source; give the result another name")
    if not overwrite:
        raise FileExistsError(f"{output} exists already; overwrite (--overwrite) replaces it")
    if output.is_dir() and (other := next((file for file in output.iterdir() if file.suffix != ".png"), None)):
        raise ValueError(f"{output} holds other things than PNG pictures ({other.name}); it is not overwritten")


@contextmanager
def _team(workers: Workers, settings: RestoreSettings) -> "Iterator[Team | None]":
    """Starts or connects to the worker processes that restore; None if this process restores alone."""
    if workers.cluster is None and workers.local(len(device_indices(settings.device))) == 1:
        yield None
        return
    from vsedvr.restore.team import gathered  # only here: it takes a second, and Dask

    with gathered(workers, settings) as team:
        yield team


def _new_job(source: Path, output: Path, folder: Path, settings: RestoreSettings, team: "Team | None") -> Job:
    if team is None:
        job = plan_job(source, output, folder, settings, folder / "index", [room_of(settings.device, settings.precision)])
    else:  # planned on the CPU: this machine may have no GPU, although workers have, or the workers need its memory
        job = plan_job(source, output, folder, replace(settings, device="cpu"), folder / "index", team.rooms())
        job = replace(job, settings=settings)
    companions_of(job, output.suffix.lower())  # raises, before any frame is restored, if the file cannot hold the sound
    start_job(job, source)
    return job


def _restore_segments(job: Job, notes: Sequence[str], team: "Team | None", on_progress: Callable[[Status], None]) -> None:
    missing = job.missing()
    done = {number: len(part) for number, part in enumerate(job.segments) if number not in missing}

    def show(stage: str = "restoring") -> None:
        on_progress(Status(stage, sum(done.values()), len(job.frames), tuple(notes)))

    def on_frames(number: int, frames: int) -> None:
        done[number] = frames
        show()

    if team is not None:
        if team.ship:
            on_progress(Status("sending"))
        team.restore(job, missing, show, on_frames, on_wait=lambda: show("waiting for a worker"))
        return
    show()
    for number in missing:
        _alone(job, number, on_frames)


def _alone(job: Job, number: int, on_frames: Callable[[int, int], None]) -> None:
    count = itertools.count(1)
    restore_segment(job, number, lambda: on_frames(number, next(count)))


def _join(job: Job, companions: Companions, output: Path) -> Path:
    """Joins the segments and returns the path of the finished film, which is still in the job's folder."""
    joined = job.folder / f"joined{output.suffix}"
    if joined.exists():
        return joined
    if output.suffix:
        with whole_file(joined) as path:
            join_video(job, companions, path, output.suffix.lower())
    else:
        with whole_folder(joined) as path:
            join_pictures(job, path)
    return joined


def _put(joined: Path, output: Path, folder: Path) -> None:
    """Moves the finished film from the job's folder to its final place. From then on the job counts as done."""
    if output.is_dir():
        output.rename(folder / "replaced")
    joined.replace(output)
    (folder / "job.json").unlink()


def _clear(folder: Path) -> None:
    """Removes everything in a job's folder except the lock."""
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _text(value: object) -> str | None:
    return None if value is None else os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def plan_text(source: Path, output: Path, settings: RestoreSettings, overwrite: bool) -> str:
    """Describes what `restore_film` would do, without writing anything.

    Raises:
        ValueError, OSError: as `restore_film`.
    """
    check_output(source, output, overwrite)
    with tempfile.TemporaryDirectory() as folder:
        first = device_indices(settings.device)[0]  # the probe takes one process
        settings = replace(settings, device=None if first is None else str(first))
        rooms = [room_of(settings.device, settings.precision)]
        job = plan_job(source, output, Path(folder), settings, Path(folder) / "index", rooms)
        return describe(job, companions_of(job, output.suffix.lower()), output)
