"""The door of the filter: its arguments and its errors."""

import os

import torch
import vapoursynth as vs

from vsedvr.filter.graph import build
from vsedvr.model import EDVR

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
        return build(clip, model, device_index, precision, padding, sc, tile, tile_pad, output_format)
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        raise vs.Error(f"edvr: {error}") from error
