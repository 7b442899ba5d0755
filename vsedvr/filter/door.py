"""The function `edvr`: checks the arguments, builds the filter, and turns failures into errors for the user."""

import inspect
import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Concatenate

import torch
import vapoursynth as vs

from vsedvr.filter.arguments import refuse_unknown, to_flag, to_matrix, to_network, to_number, to_tile, to_word
from vsedvr.filter.devices import to_devices, to_streams
from vsedvr.filter.errors import edvr_error
from vsedvr.filter.formats import check_channels, check_clip, to_output_format
from vsedvr.filter.graph import FilterSettings, Stage, build
from vsedvr.filter.waiting import THREADS_SPIN
from vsedvr.infer import (
    PRECISIONS,
    check_ensemble,
    check_second_stage,
    check_tile,
    choose_precision,
    lacks_kernels,
)
from vsedvr.model import EDVR
from vsedvr.timeline import PADDINGS
from vsedvr.weights import known_padding

__all__ = ["edvr"]

logger = logging.getLogger("vsedvr")


def edvr(
    clip: vs.VideoNode,
    model: str | os.PathLike[str] | EDVR = "small",
    *,
    refine: str | os.PathLike[str] | EDVR | None = None,
    ensemble: int = 1,
    device_index: int | Sequence[int] | None = None,
    num_streams: int | None = None,
    auto_download: bool = False,
    precision: str | None = None,
    padding: str | None = None,
    sc: bool = True,
    tile: tuple[int, int] | None = None,
    tile_pad: int | None = None,
    matrix: int | str | None = None,
    output_format: int | None = None,
    **unknown: object,
) -> vs.VideoNode:
    """Restores a clip with EDVR: super-resolution, deblurring, denoising or whatever the model was trained for.

    Frames are restored when they are requested, each from a window of its neighbours. The result for a frame does not depend
    on the order of requests. The filter is built equally fast for clips of any length. Unless `matrix` is given, building it
    renders frame 0 once, because its props tell matrix, range and field order.

    Colour: each frame is read as its props _Matrix, _Range and _ChromaLocation say. If one is missing, that of frame 0 is
    used. All output frames are converted and tagged like frame 0. With `matrix`, frame 0 is not looked at, and each frame
    is converted and tagged as its own props say. All other props are kept, and _Alpha is enlarged with the picture. Values
    outside of [0, 1], which legal YUV and float clips have, are clamped for the network and added to its result.

    Args:
        clip: RGB, YUV or GRAY with 8 to 16 bits or float, progressive, of constant format and size. Any size from 1x1 and any
            length from 1 frame will do.
        model: name of an embedded or published model (`vsedvr models` lists them), path of an EDVR checkpoint (.pth, .pt,
            .ckpt, .safetensors), or an EDVR. A model with one channel restores GRAY, and the luma of YUV; chroma is copied,
            or enlarged bicubically by an x4 model.
        refine: a second model, which restores the result of the first one again, as in section 3.4 of the paper. It keeps the
            size and has as many channels as the first. Pictures stay in float between the two, and both use the cuts of the
            clip. It takes the same as `model`. By default there is none.
        ensemble: number of versions of each picture that are restored. The result is their mean: 1 is the picture alone, 4
            its flips, 8 the flips and their transposes. A little better, but it takes 4 or 8 times the time.
        device_index: number of the GPU; -1 is the CPU. By default the first GPU, or the CPU where there is none. Several
            numbers, such as [0, 1], restore frames in turn on several cards. Only equal cards give equal bits.
        num_streams: number of frames that each device is given at a time. By default 2 on a GPU, which then works on a frame
            while the one before is copied, and 1 on a CPU. It changes no pixel.
        auto_download: whether a published model that is not on this computer is downloaded when the filter is created. It
            needs the extra "models" of the package: pip install "vsedvr[models]".
        precision: "fp32", "fp16" or "bf16". By default fp32 on a CPU and for RGBS clips, else fp16. On a CPU, fp16 is slower
            than fp32, and so is bf16 without AMX; fp32 is used in their place there.
        padding: how missing frames before the first and after the last one are filled in: "replicate", "reflection",
            "reflection_circle" or "circle". By default the way that the published model, or such models, are tested
            with: reflection_circle, or replicate for models with predeblur.
        sc: keep windows within a scene. Scene cuts are read from the props _SceneChangePrev and _SceneChangeNext of frames
            that have them; elsewhere they are detected in the pictures.
        tile: (width, height) of the tiles in which each picture is restored, in pixels of the clip; (0, 0) restores it whole,
            which is fastest. By default the picture is whole if the free memory allows it, else the tiles are as large as
            it allows. The size is chosen when the filter is created. If memory runs out later, the filter switches to
            smaller tiles, with a warning.
        tile_pad: number of surrounding pixels of the clip that each tile sees on every side. By default 12, or 48 for models
            whose input and output have the same size. This keeps tiles within 1/255 of the whole picture on a real clip.
        matrix: matrix of YUV frames that have no prop _Matrix, and of YUV output that is made from RGB or GRAY: "709" (HD),
            "170m" (SD, NTSC), "470bg" (SD, PAL), "2020ncl" (UHD), "fcc", "240m", "ycgco", or its number. A frame's own
            _Matrix takes precedence. A player cannot render frames while it evaluates the script, so YUV clips need this
            argument there. By default YUV output made from RGB has the matrix that belongs to _Primaries, or BT.709.
        output_format: format of the result, such as vs.RGBS or vs.YUV420P10. By default the clip's format.
        unknown: any other argument is an error; the message names the argument above that looks most like it.

    Returns:
        The restored clip with all frame props of the source clip. An x4 model makes it four times as wide and high.

    Raises:
        vapoursynth.Error: a message "edvr: ...", when the filter is created, for any argument or clip that it cannot work
            with. When a frame is requested, for a frame that it cannot work with (interlaced, unknown matrix, not finite);
            the message has the frame's number.
    """
    try:
        refuse_unknown(unknown, [name for name in inspect.signature(edvr).parameters if name != "unknown"])
        check_clip(clip)
        devices = to_devices(device_index)
        streams = to_streams(num_streams, devices)
        asked = _optional(precision, to_word, "precision", PRECISIONS)
        tile = _optional(tile, to_tile, "tile")
        tile_pad = _optional(tile_pad, to_number, "tile_pad")
        check_tile(tile, tile_pad)
        padding = _optional(padding, to_word, "padding", PADDINGS)
        sc = to_flag(sc, "sc")
        number = _optional(matrix, to_matrix, "matrix")
        dtype = choose_precision(asked, devices[0], exact_input=clip.format.id == vs.RGBS)
        versions = to_number(ensemble, "ensemble")
        check_ensemble(versions)
        download = to_flag(auto_download, "auto_download")
        stages = [
            Stage(_name(given), to_network(given, download), padding or known_padding(given))
            for given in ([model] if refine is None else [model, refine])
        ]
        first = stages[0].network.config
        check_channels(first, clip)
        if len(stages) > 1:
            check_second_stage(first, stages[1].network.config)
        output = to_output_format(output_format, clip, first.scale)
        _warn_of_slowness(devices[0])
        return build(clip, stages, FilterSettings(devices, streams, dtype, output, sc, tile, tile_pad, number, versions))
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        logger.debug("the filter cannot be created", exc_info=True)
        raise edvr_error(error) from None


def _name(model: str | os.PathLike[str] | EDVR) -> str:
    """How the log calls a model."""
    return "(an EDVR)" if isinstance(model, EDVR) else str(model)


def _optional[T, **P](
    value: object, convert: Callable[Concatenate[object, P], T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    return None if value is None else convert(value, *args, **kwargs)


@cache
def _warn_of_slowness(device: torch.device) -> None:
    """Warns of missing kernels and spinning threads, only once for each device."""
    if lacks_kernels(device):
        logger.warning(
            "the compiled kernels are missing, so a CPU takes two to five times as long: install g++ or clang, then vsedvr"
        )
    if device.type == "cpu" and THREADS_SPIN:
        logger.warning(
            "torch was loaded before the filter, so its threads spin while they wait, and slow down the rest: "
            "set OMP_WAIT_POLICY=PASSIVE, or import vsedvr.filter before torch"
        )
