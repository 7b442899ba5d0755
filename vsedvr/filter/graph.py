"""The graph of the filter, for a window of five frames:

    clip - tagged -+- to float, with what is known of scenes -- places 0..4 of the windows -- ModifyFrame(Restorer) -+
                   +- scene starts ------+                                                                           |
                                                             result -- props of frame n -- to the output format -----+

Each place of the window is a clip of its own. Its frame n is the source frame at that place of the window when frame n is
restored. So VapourSynth's core fetches the frames ahead and renders each once. No callback ever waits for a frame, which would
deadlock when the core's cache is full. The number of nodes does not depend on the length of the clip.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import vapoursynth as vs

from vsedvr.filter.colour import in_output_format, join_chroma, to_float
from vsedvr.filter.compute import compute
from vsedvr.filter.restorer import Restorer
from vsedvr.filter.scenes import SCENE_START, mark_scene_starts
from vsedvr.filter.tags import TagReader
from vsedvr.infer import PRECISIONS, Engine, build_engine, clip_windows
from vsedvr.model import EDVR
from vsedvr.timeline import Windows

__all__ = ["FilterSettings", "build", "cache_may_grow"]

logger = logging.getLogger("vsedvr")


@dataclass(frozen=True)
class FilterSettings:
    """The checked arguments of the filter."""

    model: str
    """Name of the model, for the log."""
    device: torch.device
    dtype: torch.dtype
    output: vs.VideoFormat
    padding: str | None
    sc: bool
    tile: tuple[int, int] | None
    tile_pad: int | None
    matrix: int | None


def build(clip: vs.VideoNode, network: EDVR, settings: FilterSettings) -> vs.VideoNode:
    """Builds the filter graph.

    Returns:
        The restored clip in the output format.

    Raises:
        ValueError: if the filter cannot work with the tags of frame 0.
        MemoryError, RuntimeError: if the network cannot be built on the device.
    """
    luma = clip.format.color_family == vs.YUV and network.config.num_in_ch == 1
    reader = TagReader(clip.format, settings.matrix, needs_matrix=not luma or settings.output.color_family == vs.RGB)
    if settings.matrix is None:
        # Must come before other filters on the clip: else the core caches the frame, which in a player is a black placeholder
        reader.look_at_first(clip)
    tagged = reader.tagged(clip)
    source = to_float(tagged, luma)
    if settings.sc:
        source = source.std.CopyFrameProps(mark_scene_starts(clip, tagged), props=SCENE_START)
    windows = clip_windows(network.config, clip.num_frames, settings.padding)
    places = [_clip_of(source, windows.runs(place)) for place in range(windows.num_frame)]
    engine = compute(
        settings.device,
        build_engine,
        network,
        settings.device,
        settings.dtype,
        (clip.height, clip.width),
        settings.tile,
        settings.tile_pad,
        reserved_bytes=cache_may_grow(),
    )
    _log(engine, settings)
    restored = _restored(source, places, engine, windows, settings.output, luma)
    result = join_chroma(restored, tagged, settings.output) if luma else restored
    result = in_output_format(result, clip, settings.output, reader)
    return result if network.config.scale == 1 else result.std.CopyFrameProps(restored, props="_Alpha")


def _restored(
    source: vs.VideoNode, places: list[vs.VideoNode], engine: Engine, windows: Windows, output: vs.VideoFormat, luma: bool
) -> vs.VideoNode:
    """Makes the clip of restored pictures: GRAYS if the output format needs nothing else, otherwise RGBS."""
    scale = engine.config.scale
    gray = luma or source.format.color_family == output.color_family == vs.GRAY
    blank = source.std.BlankClip(
        width=source.width * scale, height=source.height * scale, format=vs.GRAYS if gray else vs.RGBS, keep=True
    )
    keep_beyond = not (output.color_family == vs.RGB and output.sample_type == vs.INTEGER)
    return blank.std.ModifyFrame(places, Restorer(engine, windows, blank.format, keep_beyond))


def cache_may_grow() -> int:
    """Returns by how many bytes the core's cache of frames may still grow."""
    return max(0, (vs.core.max_cache_size << 20) - vs.core.used_cache_size)


def _log(engine: Engine, settings: FilterSettings) -> None:
    precision = next(name for name, dtype in PRECISIONS.items() if dtype == settings.dtype)
    tiling = engine.tiling
    tiles = f"tiles of {tiling.tile}, tile_pad {tiling.pad}" if tiling and len(tiling.tiles) > 1 else "pictures whole"
    logger.info("model %s, x%d, on %s in %s, %s", settings.model, engine.config.scale, engine.device, precision, tiles)


def _clip_of(clip: vs.VideoNode, runs: Iterable[range]) -> vs.VideoNode:
    """Joins the parts of a clip whose frame numbers are in the given runs, in this order."""
    parts = [clip[run.start : run.stop] for run in runs]
    return vs.core.std.Splice(parts) if len(parts) > 1 else parts[0]
