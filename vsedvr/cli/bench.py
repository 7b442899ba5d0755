"""vsedvr bench: measures how many frames per second this machine restores, and estimates how long a film takes.

Frames go through the whole filter, with 8-bit YUV 4:2:0 as input and output. Reading a file and encoding are not included.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import vapoursynth as vs

from vsedvr import EDVR
from vsedvr.cli.options import MODEL_HELP, add_engine_arguments, engine_settings, load_models
from vsedvr.cli.progress import Progress
from vsedvr.evaluation.table import aligned_table
from vsedvr.filter import edvr
from vsedvr.filter.trial import moving_clip
from vsedvr.infer import PRECISIONS
from vsedvr.infer.findings import device_name
from vsedvr.weights import EMBEDDED

__all__ = ["Speed", "add_arguments", "measure", "run"]

Size = tuple[int, int]
"""(width, height) in pixels."""

SIZES: tuple[Size, ...] = (720, 480), (1280, 720), (1920, 1080)
SMALL_SIZES: tuple[Size, ...] = (192, 144), (360, 240)
"""Sizes that are measured first, the smallest in any case, to predict the time for the others. They are not shown."""

SECONDS = 140.0
"""Time for all measurements in seconds. Within three minutes this leaves some time for loading and wrong predictions."""

FILM_FRAMES = 2 * 60 * 60 * 24
"""Number of frames of a film: two hours at 24 frames per second."""

WARM_UP = 4
"""Time to build the filter and restore its first frame (whose neighbours are all new), counted in frames."""
MIN_FRAMES, MAX_FRAMES = 2, 48


@dataclass(frozen=True)
class Speed:
    """Speed of a model for pictures of one size."""

    model: str
    width: int
    height: int
    seconds: float
    """Seconds per frame; NaN if there is not enough memory."""
    estimated_from: Size | None = None
    """Size that was measured instead, if this one would have taken too long. The time is scaled by the number of pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = f"{MODEL_HELP}; may be given several times; all embedded by default"
    parser.add_argument("--model", action="append", metavar="MODEL", help=text)
    add_engine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the speeds as JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> None:
    """Measures all models and prints a table.

    Raises:
        ValueError: if there is no such device, or the filter cannot be built.
        OSError: if there is no such model.
    """
    device, dtype = engine_settings(args)
    precision = next(name for name, value in PRECISIONS.items() if value == dtype)
    models = load_models(args.model or list(EMBEDDED))
    speeds = []
    with Progress(len(models) * len(SIZES), "sizes measured", args.quiet) as progress:
        for speed in _all_speeds(models, device, precision):
            speeds.append(speed)
            progress.step(f"{speed.model} {speed.width}x{speed.height}")
    name = device_name(device)
    if args.json:
        print(json.dumps({"device": name, "precision": precision, "speeds": [_entry(speed) for speed in speeds]}, indent=2))
        return
    print(f"{name}, {precision}; the filter alone, without reading and encoding\n")
    head = ("model", "size", "frames a second", "a film of 2 hours", "")
    print(aligned_table([head, *(_row(speed) for speed in speeds)], left=(0, 1, 4)))


def _all_speeds(models: Mapping[str, EDVR], device: torch.device, precision: str) -> Iterator[Speed]:
    end, left = time.monotonic() + SECONDS, len(models)
    for name, network in models.items():

        def seconds(size: Size, frames: int, network: EDVR = network) -> float:
            return _seconds(network, device, precision, size, frames)

        share = (end - time.monotonic()) / left
        yield from measure(name, seconds, SIZES, share)
        left -= 1


def measure(model: str, seconds: Callable[[Size, int], float], sizes: Sequence[Size], budget: float) -> Iterator[Speed]:
    """Yields the speeds of one model, within a time limit. If a size would take too long, its speed is estimated.

    Estimates are made from the largest size that was measured.

    Args:
        model: name of the model.
        seconds: function that restores a number of frames of a size and returns seconds per frame; NaN if there is not enough
            memory.
        sizes: sizes, from the smallest to the largest.
        budget: time limit in seconds for all sizes.
    """
    end = time.monotonic() + budget
    measured, *others = (*SMALL_SIZES, *sizes)
    frame = seconds(measured, MIN_FRAMES)
    for k, size in enumerate(others):
        here = frame * _area(size) / _area(measured)
        estimated_from: Size | None = measured
        frames = MIN_FRAMES if math.isnan(here) else _affordable(end - time.monotonic(), len(others) - k, here)
        if frames:
            here, estimated_from = seconds(size, frames), None
            if not math.isnan(here):
                measured, frame = size, here
        if size in sizes:
            yield Speed(model, *size, here, estimated_from)


def _affordable(left: float, sizes: int, frame: float) -> int:
    """Returns how many frames of the next size to measure; 0 if there is no time for it.

    Args:
        left: time in seconds that is left for all remaining sizes.
        sizes: number of remaining sizes.
        frame: expected time in seconds for a frame of the next size.
    """
    most = left if sizes == 1 else left / 2
    if most < (MIN_FRAMES + WARM_UP) * frame:
        return 0
    return int(min(max(left / sizes / max(frame, 1e-6) - WARM_UP, MIN_FRAMES), MAX_FRAMES))


def _area(size: Size) -> int:
    return size[0] * size[1]


def _seconds(network: EDVR, device: torch.device, precision: str, size: Size, frames: int) -> float:
    """Measures the seconds per frame in the middle of a clip, requested like vspipe does: in order, several ahead."""
    reach = network.config.num_frame // 2
    clip = moving_clip(*size, frames + 1 + 2 * reach, vs.YUV420P8)
    index = -1 if device.type == "cpu" else device.index
    try:
        restored = edvr(clip, model=network, device_index=index, precision=precision)
        ahead = restored[reach : reach + frames + 1].frames(close=True)
        next(ahead)
        start = time.monotonic()
        for _ in ahead:
            pass
    except vs.Error as error:
        if "out of memory" in str(error):
            return math.nan
        raise ValueError(str(error).removeprefix("edvr: ")) from error
    return (time.monotonic() - start) / frames


def _row(speed: Speed) -> tuple[str, ...]:
    how = f"estimated from {speed.estimated_from[0]}x{speed.estimated_from[1]}" if speed.estimated_from else ""
    size = f"{speed.width}x{speed.height}"
    if math.isnan(speed.seconds):
        return speed.model, size, "-", "-", "too little memory"
    return speed.model, size, f"{1 / speed.seconds:.3g}", _duration(FILM_FRAMES * speed.seconds), how


def _duration(seconds: float) -> str:
    """Formats a duration as days and hours, hours and minutes, or minutes."""
    minutes = max(1, round(seconds / 60))
    days, hours = divmod(round(seconds / 3600), 24)
    if days:
        return f"{days} d {hours} h"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _entry(speed: Speed) -> dict[str, object]:
    fits = not math.isnan(speed.seconds)
    return {
        "model": speed.model,
        "width": speed.width,
        "height": speed.height,
        "frames_per_second": 1 / speed.seconds if fits else None,
        "film_hours": FILM_FRAMES * speed.seconds / 3600 if fits else None,
        "estimated_from": speed.estimated_from,
    }
