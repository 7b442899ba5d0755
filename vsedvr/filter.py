"""The VapourSynth filter. The only file of the restoring path that imports vapoursynth.

The graph that `edvr` builds, for a window of five frames:

    clip -+- to RGB float -- picked for window place 0..4 -+
          |                                                +- ModifyFrame(restore) -- props of frame n -- to the output format
          +- luma differences -- picked for the window ----+

A place of the window is a clip of its own: frame n of it is the source frame that stands there when n is restored. So the
core fetches the frames ahead, renders each once, and no callback ever waits for a frame: that would deadlock when the
core's cache is full.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

from vsedvr.infer import build_engine, check_tile, choose_device, choose_precision, clip_windows
from vsedvr.model import EDVR
from vsedvr.timeline import PADDINGS, is_cut, within_scene
from vsedvr.weights import load_model

__all__ = ["edvr"]


def edvr(
    clip: vs.VideoNode,
    *,
    model: str | os.PathLike[str] | EDVR = "small",
    device_index: int | None = None,
    precision: str | None = None,
    padding: str | None = None,
    sc: bool = True,
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    output_format: int | None = None,
) -> vs.VideoNode:
    """Restores a clip with EDVR: super-resolution, deblurring, denoising or whatever the model was trained for.

    Frames are restored when they are requested, each from a window of its neighbours. Output n is the same in whatever
    order frames are requested. Building the filter renders frame 0 once: its props tell matrix, range and field order.

    Args:
        clip: RGB, YUV or GRAY, 8 to 16 bit or float, progressive, of constant format and size; any size from 1x1, any
            length from 1 frame. Colour is converted as the frame props say. Float input is clamped to [0, 1].
        model: name of an embedded model, path of an EDVR checkpoint (.pth, .pt, .ckpt, .safetensors), or an EDVR.
        device_index: number of the GPU; -1 is the CPU. By default the first GPU, or the CPU where there is none.
        precision: "fp32", "fp16" or "bf16". By default fp32 on a CPU and for RGBS clips, else fp16. On a CPU fp16, and
            without AMX bf16, are slower than fp32, which then takes their place.
        padding: what stands in for frames before the first and after the last: "replicate", "reflection",
            "reflection_circle" or "circle". By default what models of the kind are tested with: reflection_circle, or
            replicate with predeblur.
        sc: keep windows within a scene. Cuts are read from the props _SceneChangePrev and _SceneChangeNext where they
            are set and found in the picture elsewhere.
        tile: (width, height) of the tiles that each picture is restored in, in pixels of the clip; (0, 0) restores it whole,
            which is fastest. By default whole where the free memory allows it, else in the largest tiles that it does.
            They are settled when the filter is created. If memory runs out later, smaller tiles take over, with a warning.
        tile_pad: pixels of the clip that a tile sees around itself. By default 12, four times that where input and output
            are of one size: what keeps tiles within 1/255 of the whole on a real clip.
        output_format: format of the result, such as vs.RGBS or vs.YUV420P10. By default that of the clip.

    Returns:
        The restored clip, four times the size with an x4 model, with all frame props of the clip.

    Raises:
        vapoursynth.Error: "edvr: ..." for every argument and clip that it cannot work with.
    """
    try:
        return _build(clip, model, device_index, precision, padding, sc, tile, tile_pad, output_format)
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        raise vs.Error(f"edvr: {error}") from error


def _build(
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
    _check_clip(clip)
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
    out_format = _check_output_format(clip.format.id if output_format is None else output_format, clip, scale)
    first = clip.get_frame(0)
    _check_props(clip, first.props)
    clip = _hold_first(clip, first)

    shapes = clip_windows(network.config, clip.num_frames, padding)
    windows = [shapes.indices(n) for n in range(clip.num_frames)]
    source = _to_float(clip)
    gray = {vs.GRAY} == {clip.format.color_family, out_format.color_family}
    blank = source.std.BlankClip(
        width=clip.width * scale, height=clip.height * scale, format=vs.GRAYS if gray else vs.RGBS, keep=True
    )
    places = [_pick(source, place) for place in zip(*windows, strict=True)]
    differences = _pick_differences(clip, windows) if sc and not _has_scene_props(first.props) else []
    engine = build_engine(network, device, dtype, (clip.height, clip.width), tile, tile_pad)

    def restore(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        frames = dict(zip(windows[n], f, strict=False))
        indices = within_scene(windows[n], n, _scene_starts(frames, f[len(places) :])) if sc else windows[n]
        return _to_frame(engine.restore(indices, lambda i: _to_tensor(frames[i])), blank.format)

    restored = blank.std.ModifyFrame([*places, *differences], restore)
    return _from_float(restored, out_format, clip, first.props)


def _check_clip(clip: vs.VideoNode) -> None:
    if not isinstance(clip, vs.VideoNode):
        raise ValueError(f"clip must be a vapoursynth.VideoNode, got {type(clip).__name__}")
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width or not clip.height:
        raise ValueError("clip must have a constant format and size; convert it first, for example with resize")
    if clip.gpu_resident:
        raise ValueError("clip is in GPU memory; bring it back with std.GPUDownload first")
    _check_format(clip.format, "clip")


def _check_format(format: vs.VideoFormat, what: str) -> None:
    if format.color_family == vs.UNDEFINED or (format.sample_type == vs.INTEGER and format.bits_per_sample > 16):
        raise ValueError(f"{what} must be RGB, YUV or GRAY of 8 to 16 bit or float, got {format.name}")


def _check_output_format(output_format: int, clip: vs.VideoNode, scale: int) -> vs.VideoFormat:
    try:
        format = vs.core.get_video_format(output_format)
    except (vs.Error, TypeError, OverflowError) as error:
        raise ValueError(f"output_format must be a format such as vs.RGBS, got {output_format!r}") from error
    _check_format(format, "output_format")
    if clip.width * scale % (1 << format.subsampling_w) or clip.height * scale % (1 << format.subsampling_h):
        raise ValueError(
            f"output_format {format.name} needs even sizes, the result has {clip.width * scale}x{clip.height * scale}; "
            "choose one without subsampling"
        )
    return format


def _check_props(clip: vs.VideoNode, props: vs.FrameProps) -> None:
    if props.get("_FieldBased", 0):
        raise ValueError("clip is interlaced (_FieldBased of frame 0); deinterlace it first, or set _FieldBased=0 if it is not")
    matrix = props.get("_Matrix", vs.MATRIX_UNSPECIFIED)
    if clip.format.color_family == vs.YUV and matrix in (vs.MATRIX_RGB, vs.MATRIX_UNSPECIFIED):
        raise ValueError(
            f"clip is YUV and its matrix is not known (_Matrix of frame 0 is {matrix}); set it first: "
            "clip.std.SetFrameProps(_Matrix=1) for BT.709 (HD), _Matrix=6 or 5 for BT.601 (SD, NTSC or PAL)"
        )


def _hold_first(clip: vs.VideoNode, first: vs.VideoFrame) -> vs.VideoNode:
    """The same clip without rendering frame 0, which building the filter had to do, once more."""
    blank = clip.std.BlankClip(length=1, keep=True)
    held = blank.std.ModifyFrame(blank, lambda n, f: first)
    return held + clip[1:] if clip.num_frames > 1 else held


def _to_float(clip: vs.VideoNode) -> vs.VideoNode:
    """RGBS, or GRAYS for GRAY, as the props say."""
    return clip.resize.Bicubic(format=vs.GRAYS if clip.format.color_family == vs.GRAY else vs.RGBS)


def _from_float(restored: vs.VideoNode, format: vs.VideoFormat, clip: vs.VideoNode, first_props: vs.FrameProps) -> vs.VideoNode:
    """The output format with the props of every frame; written, and tagged, with matrix and range of the clip's frame 0."""
    tags = {"_Range": vs.RANGE_FULL if format.color_family == vs.RGB else vs.RANGE_LIMITED}
    if format.color_family == clip.format.color_family:
        tags["_Range"] = first_props.get("_Range", tags["_Range"])
    if format.color_family == vs.RGB:
        tags["_Matrix"] = vs.MATRIX_RGB
    elif restored.format.color_family == vs.RGB:
        tags["_Matrix"] = first_props["_Matrix"] if clip.format.color_family == vs.YUV else vs.MATRIX_BT709
    if restored.format.id != format.id:
        restored = restored.resize.Bicubic(
            format=format.id,
            matrix=tags.get("_Matrix"),
            range=tags["_Range"],
            chromaloc=first_props.get("_ChromaLocation") if format.color_family == vs.YUV else None,
        )
    return restored.std.CopyFrameProps(clip).std.SetFrameProps(**tags)


def _pick(clip: vs.VideoNode, numbers: Sequence[int]) -> vs.VideoNode:
    """A clip of the frames with these numbers, from as few cuts as it takes."""
    breaks = [k + 1 for k, (a, b) in enumerate(pairwise(numbers)) if b != a + 1]
    runs = [clip[numbers[start] : numbers[end - 1] + 1] for start, end in pairwise([0, *breaks, len(numbers)])]
    return vs.core.std.Splice(runs) if len(runs) > 1 else runs[0]


def _has_scene_props(props: vs.FrameProps) -> bool:
    return "_SceneChangePrev" in props or "_SceneChangeNext" in props


def _pick_differences(clip: vs.VideoNode, windows: list[list[int]]) -> list[vs.VideoNode]:
    """Clips of luma differences: for each n those of the window's first frame up to the one after its last."""
    luma = clip
    if clip.format.color_family == vs.RGB:
        luma = clip.resize.Point(format=vs.GRAY8, matrix=vs.MATRIX_BT709)
    differences = luma.std.PlaneStats(luma[0] + luma[:-1] if luma.num_frames > 1 else luma, prop="_EDVR")
    spans = [(min(window), min(max(window) + 1, clip.num_frames - 1)) for window in windows]
    return [_pick(differences, [min(first + k, last) for first, last in spans]) for k in range(len(windows[0]) + 1)]


def _scene_starts(frames: dict[int, vs.VideoFrame], differences: Sequence[vs.VideoFrame]) -> Iterator[int]:
    """Numbers of the frames in a window that begin a scene, by their props or by the luma differences.

    Args:
        frames: the window's frames by number; they are successive.
        differences: those of the window's first frame up to the one after its last; none to go by the props alone.
    """
    first, last = min(frames), max(frames)
    luma = [frame.props["_EDVRDiff"] for frame in differences]
    for k, i in enumerate(range(first + 1, last + 1)):
        marks = [frames[i].props.get("_SceneChangePrev"), frames[i - 1].props.get("_SceneChangeNext")]
        marked = any(mark is not None for mark in marks)
        if any(marks) if marked else luma and is_cut(luma[k : k + 1], luma[k + 1], luma[k + 2 : k + 3]):
            yield i


def _to_tensor(frame: vs.VideoFrame) -> Tensor:
    """RGBS or GRAYS -> (3, h, w) in [0, 1]."""
    planes = np.stack([np.asarray(frame[plane]) for plane in range(frame.format.num_planes)])
    return torch.from_numpy(planes).clamp_(0, 1).expand(3, -1, -1)


def _to_frame(rgb: Tensor, format: vs.VideoFormat) -> vs.VideoFrame:
    """(3, h, w) -> RGBS, or GRAYS as the mean of the three."""
    planes = rgb if format.num_planes == 3 else rgb.mean(0, keepdim=True)
    frame = vs.core.create_video_frame(format, rgb.shape[2], rgb.shape[1])
    for k, plane in enumerate(planes.numpy()):
        np.copyto(np.asarray(frame[k]), plane)
    return frame
