"""Makes the text of --dry-run: what would be done, what it needs, and how long it takes, estimated from a few frames."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import vapoursynth as vs

from vsedvr.infer import build_engine, choose_device, choose_precision
from vsedvr.restore.encode import encode_segment
from vsedvr.restore.facts import Source, clock, reason
from vsedvr.restore.job import Job
from vsedvr.restore.output import restored_clip
from vsedvr.restore.settings import RestoreSettings, device_index
from vsedvr.restore.source import source_clip
from vsedvr.restore.streams import Companions
from vsedvr.weights import load_model

__all__ = ["describe"]

PROBED = 5
"""Number of frames that are restored for the estimate, after a first one that does not count."""

MATRIX_NAMES = {
    0: "RGB",
    1: "BT.709",
    4: "FCC",
    5: "BT.601 (PAL)",
    6: "BT.601",
    7: "SMPTE 240M",
    9: "BT.2020",
    10: "BT.2020 CL",
}
TRANSFER_NAMES = {16: "PQ", 18: "HLG"}


def describe(job: Job, companions: Companions, output: Path) -> str:
    """Describes what a job would do, one line for each aspect."""
    source, made = job.source, job.output
    frames = len(job.frames)
    seconds = source.time(job.frames.stop) - source.time(job.frames.start)
    probe = _probe(job)
    lengths = [len(part) for part in job.segments]
    options = " ".join(f"{name}={value}" for name, value in made.options.items())
    lines = {
        "source": f"{source.path}: {source.width}x{source.height} {source.format}, {_rate(source)}",
        "frames": f"{frames} of {source.num_frames}, {clock(seconds)}",
        "colour": _colour(source),
        "result": f"{output}: {made.width}x{made.height} {made.pix_fmt}, {made.encoder.encoder} {options}".rstrip(),
        "copied": _copied(companions),
        "model": _models(job.settings),
        "runs on": _engine(job),
        "segments": f"{len(lengths)} of {min(lengths)} to {max(lengths)} frames; an interruption loses one at most",
        "memory": f"{_size(probe.memory)} in the probe",
        "disk": _disk(output, round(probe.bytes_per_frame * frames)),
        "time": f"{probe.rate:.2f} frames a second, about {_duration(frames / probe.rate)}",
    }
    notes = [f"note: {note}" for note in companions.notes]
    return "\n".join([*(f"{name + ':':<10}{text}" for name, text in lines.items()), *notes]) + "\n"


@dataclass(frozen=True)
class _Probe:
    rate: float
    """Speed in frames per second."""
    bytes_per_frame: float
    memory: int
    """Main memory that the process takes, in bytes."""


def _probe(job: Job) -> _Probe:
    """Measures speed and memory: restores and encodes a few frames from the middle of the film."""
    clip = restored_clip(source_clip(job.source, job.settings, job.index), job.source, job.settings, job.tile, job.output)
    middle = job.frames[max(0, (len(job.frames) - 1 - PROBED) // 2)]
    part = clip[middle : min(middle + 1 + PROBED, job.frames.stop)]
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"probe{job.output.encoder.segment}"
        try:
            frames = part.frames(prefetch=1, close=True, collect_garbage=False)
            encode_segment(_timed(frames, moments), job.output, job.source.frame_rate, job.source.shape, path, lambda: None)
        except vs.Error as error:
            raise ValueError(f"frame {middle} of {job.source.path} cannot be restored: {reason(error)}") from error
        size = path.stat().st_size
    counted = len(moments) - 2
    seconds = moments[-1] - moments[1] if counted > 0 else moments[-1] - moments[0]
    rate = max(counted, 1) / max(seconds, 1e-6)
    return _Probe(rate, size / part.num_frames, psutil.Process().memory_info().rss)


def _timed(frames: Iterator[vs.VideoFrame], moments: list[float]) -> Iterator[vs.VideoFrame]:
    """Yields the frames unchanged; records when the first was requested and when each was ready, in seconds."""
    moments.append(time.perf_counter())
    for frame in frames:
        moments.append(time.perf_counter())
        yield frame


def _rate(source: Source) -> str:
    rate = f"{float(source.frame_rate):.3f}".rstrip("0").rstrip(".")
    return f"{rate} frames a second" if source.constant_rate else f"variable rate, {rate} frames a second in the mean"


def _colour(source: Source) -> str:
    props = source.props
    matrix = MATRIX_NAMES.get(props.get("_Matrix", 2), "not known")
    range = {0: ", limited range", 1: ", full range"}.get(props.get("_Range", -1), "")
    transfer = TRANSFER_NAMES.get(props.get("_Transfer", 2))
    return f"{matrix}{range}{f', {transfer}' if transfer else ''}{', HDR10 metadata' if source.hdr else ''}"


def _copied(companions: Companions) -> str:
    copied = [f"{len(ways)} streams of {path}" for path, ways in companions.files.items() if ways]
    return " and ".join(copied) or "nothing but the picture"


def _models(settings: RestoreSettings) -> str:
    ensemble = f", self-ensemble of {settings.ensemble}" if settings.ensemble > 1 else ""
    return " then ".join(settings.models) + ensemble


def _engine(job: Job) -> str:
    """Where the first model runs, and how; a second one runs likewise."""
    settings, source = job.settings, job.source
    device = choose_device(device_index(settings.device))
    dtype = choose_precision(settings.precision, device, exact_input=source.format == "RGBS")
    size = source.height, source.width
    engine = build_engine(load_model(settings.model), device, dtype, size, job.tile, ensemble=settings.ensemble)
    tiles = engine.tiling.tiles if engine.tiling is not None else []
    shape = "whole frames" if len(tiles) < 2 else f"{len(tiles)} tiles of {tiles[0].width}x{tiles[0].height}"
    return f"{device}, {str(dtype).removeprefix('torch.')}, {shape}"


def _disk(output: Path, needed: int) -> str:
    """Describes the free and needed disk space. The segments and the joined film are on disk together for a moment."""
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    text = f"about {_size(2 * needed)} while it works, {_size(needed)} in the end; {_size(free)} are free"
    return text if free > 2 * needed else f"{text}: NOT ENOUGH"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _duration(seconds: float) -> str:
    return clock(round(seconds)).partition(".")[0]
