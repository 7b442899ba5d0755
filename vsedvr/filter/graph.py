"""The graph of the filter, for a window of five frames:

    clip -+- to RGB float -- picked for window place 0..4 -+
          |                                                +- ModifyFrame(restore) -- props of frame n -- to the output format
          +- luma differences -- picked for the window ----+

A place of the window is a clip of its own: frame n of it is the source frame that stands there when n is restored. So the
core fetches the frames ahead, renders each once, and no callback ever waits for a frame: that would deadlock when the
core's cache is full.
"""

import os

import vapoursynth as vs

from vsedvr.filter.colour import check_clip, check_output_format, check_props, from_float, to_float
from vsedvr.filter.frames import to_frame, to_tensor
from vsedvr.filter.places import hold_first, pick
from vsedvr.filter.scenes import has_scene_props, pick_differences, scene_starts
from vsedvr.infer import build_engine, check_tile, choose_device, choose_precision, clip_windows
from vsedvr.model import EDVR
from vsedvr.timeline import PADDINGS, within_scene
from vsedvr.weights import load_model

__all__ = ["build"]


def build(
    clip: vs.VideoNode,
    model: str | os.PathLike[str] | EDVR,
    device_index: int | None,
    precision: str | None,
    padding: str | None,
    sc: bool,
    tile: tuple[int, int] | None,
    tile_pad: int | None,
    output_format: int | None,
) -> vs.VideoNode:
    check_clip(clip)
    if padding is not None and padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
    check_tile(tile, tile_pad)
    device = choose_device(device_index)
    dtype = choose_precision(precision, device, exact_input=clip.format.id == vs.RGBS)
    if not isinstance(model, str | os.PathLike | EDVR):
        raise ValueError(f"model must be a name, a path or an EDVR, got {model!r}")
    network = model if isinstance(model, EDVR) else load_model(model)
    if network.config.num_in_ch != 3:
        raise ValueError(f"the model restores pictures of {network.config.num_in_ch} channels; the filter needs 3")
    scale = network.config.scale
    out_format = check_output_format(clip.format.id if output_format is None else output_format, clip, scale)
    first = clip.get_frame(0)
    check_props(clip, first.props)
    clip = hold_first(clip, first)

    shapes = clip_windows(network.config, clip.num_frames, padding)
    windows = [shapes.indices(n) for n in range(clip.num_frames)]
    source = to_float(clip)
    gray = {vs.GRAY} == {clip.format.color_family, out_format.color_family}
    blank = source.std.BlankClip(
        width=clip.width * scale, height=clip.height * scale, format=vs.GRAYS if gray else vs.RGBS, keep=True
    )
    places = [pick(source, place) for place in zip(*windows, strict=True)]
    differences = pick_differences(clip, windows) if sc and not has_scene_props(first.props) else []
    engine = build_engine(network, device, dtype, (clip.height, clip.width), tile, tile_pad)

    def restore(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frames = dict(zip(windows[n], f, strict=False))
        indices = within_scene(windows[n], n, scene_starts(frames, f[len(places) :])) if sc else windows[n]
        return to_frame(engine.restore(indices, lambda i: to_tensor(frames[i])), blank.format)

    restored = blank.std.ModifyFrame([*places, *differences], restore)
    return from_float(restored, out_format, clip, first.props)
