"""The graph of the filter, for a window of five frames:

    clip - tagged -+- to float, with what is known of scenes -- places 0..4 of the windows -- ModifyFrame(Restorer) -+
                   +- scene starts ------+                                                                           |
                                                             result -- props of frame n -- to the output format -----+

Several such ModifyFrame nodes may take turns, so that a device works on a frame while the one before is copied. With a second
stage, what the Restorer gives goes through places and a Restorer once more, with the same scene starts.

Each place of the window is a clip of its own. Its frame n is the source frame at that place of the window when frame n is
restored. So VapourSynth's core fetches the frames ahead and renders each once. No callback ever waits for a frame, which would
deadlock when the core's cache is full. The number of nodes does not depend on the length of the clip.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import vapoursynth as vs

from vsedvr.filter.colour import in_output_format, join_chroma, to_float
from vsedvr.filter.compute import compute
from vsedvr.filter.devices import warn_of_differences
from vsedvr.filter.restorer import Restorer
from vsedvr.filter.scenes import SCENE_START, mark_scene_starts
from vsedvr.filter.tags import TagReader
from vsedvr.infer import PRECISIONS, Engine, build_stages, clip_windows
from vsedvr.model import EDVR
from vsedvr.timeline import Windows

__all__ = ["FilterSettings", "Stage", "build", "cache_may_grow"]

logger = logging.getLogger("vsedvr")


@dataclass(frozen=True)
class Stage:
    """A network that the clip goes through."""

    name: str
    """How the log calls it."""
    network: EDVR
    padding: str | None
    """What stands in for frames beyond the ends of the clip; None for what such networks are tested with."""


@dataclass(frozen=True)
class FilterSettings:
    """The checked arguments of the filter."""

    devices: tuple[torch.device, ...]
    """Frame n is restored on device n modulo their number."""
    streams: int
    """Number of frames that each device is given at a time."""
    dtype: torch.dtype
    output: vs.VideoFormat
    sc: bool
    tile: tuple[int, int] | None
    tile_pad: int | None
    matrix: int | None
    ensemble: int


def build(clip: vs.VideoNode, stages: Sequence[Stage], settings: FilterSettings) -> vs.VideoNode:
    """Builds the filter graph: the network of the first stage restores the clip, that of the next one restores the result.

    Returns:
        The restored clip in the output format.

    Raises:
        ValueError: if the filter cannot work with the tags of frame 0.
        MemoryError, RuntimeError: if a network cannot be built on the device.
    """
    output, gray_model = settings.output, stages[0].network.config.num_in_ch == 1
    luma = clip.format.color_family == vs.YUV and gray_model
    reader = TagReader(clip.format, settings.matrix, needs_matrix=not luma or output.color_family == vs.RGB)
    if settings.matrix is None:
        # Must come before other filters on the clip: else the core caches the frame, which in a player is a black placeholder
        reader.look_at_first(clip)
    tagged = reader.tagged(clip)
    restored = to_float(tagged, luma)
    starts = mark_scene_starts(clip, tagged) if settings.sc else None
    built = [
        compute(
            device,
            build_stages,
            [stage.network for stage in stages],
            device,
            settings.dtype,
            (clip.height, clip.width),
            settings.tile,
            settings.tile_pad,
            cache_may_grow(),
            settings.ensemble,
            settings.streams,
            settings.devices.count(device),
        )
        for device in settings.devices
    ]
    engines = list(zip(*built, strict=True))
    warn_of_differences(engines)
    _log(stages, engines, settings)
    gray = luma or clip.format.color_family == output.color_family == vs.GRAY
    needs_beyond = not (output.color_family == vs.RGB and output.sample_type == vs.INTEGER)
    for stage, of_stage in zip(stages, engines, strict=True):
        if starts is not None:
            restored = restored.std.CopyFrameProps(starts, props=SCENE_START)
        is_last = stage is stages[-1]
        half = is_last and settings.dtype.itemsize == 2 and output.bits_per_sample < 32
        format = _format(gray if is_last else gray_model, half)
        windows = clip_windows(stage.network.config, clip.num_frames, stage.padding)
        restored = _restored(restored, of_stage, windows, format, needs_beyond or not is_last, settings.streams)
    result = join_chroma(restored, tagged, output) if luma else restored
    result = in_output_format(result, clip, output, reader)
    return result if result.width == clip.width else result.std.CopyFrameProps(restored, props="_Alpha")


def _restored(
    source: vs.VideoNode,
    engines: Sequence[Engine],
    windows: Windows,
    format: vs.PresetVideoFormat,
    keep_beyond: bool,
    streams: int,
) -> vs.VideoNode:
    """Makes the clip of the pictures that one stage restores, in a float format.

    VapourSynth calls a ModifyFrame node for one frame at a time. So there is one for each frame that is restored at a time.
    """
    places = [_clip_of(source, windows.runs(place)) for place in range(windows.num_frame)]
    scale = engines[0].config.scale
    blank = source.std.BlankClip(width=source.width * scale, height=source.height * scale, format=format, keep=True)
    number = min(streams * len(engines), source.num_frames)
    restorer = Restorer(engines, windows, blank.format, keep_beyond, number)
    nodes = [blank.std.ModifyFrame(places, restorer) for _ in range(number)]
    if number == 1:
        return nodes[0]
    in_turn = [node.std.SelectEvery(number, [k], modify_duration=False) for k, node in enumerate(nodes)]
    return vs.core.std.Interleave(in_turn, modify_duration=False)


def _format(gray: bool, half: bool) -> vs.PresetVideoFormat:
    """Returns the format of the restored pictures: float16 for a 16-bit network if the output has at most 16 bits."""
    if half:
        return vs.GRAYH if gray else vs.RGBH
    return vs.GRAYS if gray else vs.RGBS


def cache_may_grow() -> int:
    """Returns by how many bytes the core's cache of frames may still grow."""
    return max(0, (vs.core.max_cache_size << 20) - vs.core.used_cache_size)


def _log(stages: Sequence[Stage], engines: Sequence[Sequence[Engine]], settings: FilterSettings) -> None:
    models = " then ".join(f"{stage.name}, x{stage.network.config.scale}," for stage in stages)
    devices = " and ".join(str(engine.device) for engine in engines[0])
    precision = next(name for name, dtype in PRECISIONS.items() if dtype == settings.dtype)
    tiles = " then ".join(dict.fromkeys(_tiles(of_stage[0]) for of_stage in engines))
    ensemble = f", self-ensemble of {settings.ensemble}" if settings.ensemble > 1 else ""
    streams = f", {settings.streams} streams" if settings.streams > 1 else ""
    logger.info("model %s on %s in %s, %s%s%s", models, devices, precision, tiles, ensemble, streams)


def _tiles(engine: Engine) -> str:
    tiling = engine.tiling
    return f"tiles of {tiling.tile}, tile_pad {tiling.pad}" if tiling and len(tiling.tiles) > 1 else "pictures whole"


def _clip_of(clip: vs.VideoNode, runs: Iterable[range]) -> vs.VideoNode:
    """Joins the parts of a clip whose frame numbers are in the given runs, in this order."""
    parts = [clip[run.start : run.stop] for run in runs]
    return vs.core.std.Splice(parts) if len(parts) > 1 else parts[0]
