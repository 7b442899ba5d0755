"""The door of the filter: its arguments, its errors, and what it says in the log."""

import inspect
import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Concatenate

import torch
import vapoursynth as vs

from vsedvr.filter.arguments import refuse_unknown, to_flag, to_matrix, to_network, to_number, to_tile, to_word
from vsedvr.filter.errors import edvr_error
from vsedvr.filter.formats import check_channels, check_clip, to_output_format
from vsedvr.filter.graph import FilterSettings, build
from vsedvr.filter.waiting import THREADS_SPIN
from vsedvr.infer import PRECISIONS, check_tile, choose_device, choose_precision, lacks_kernels
from vsedvr.model import EDVR
from vsedvr.timeline import PADDINGS
from vsedvr.weights import known_padding

__all__ = ["edvr"]

logger = logging.getLogger("vsedvr")


def edvr(
    clip: vs.VideoNode,
    model: str | os.PathLike[str] | EDVR = "small",
    *,
    device_index: int | None = None,
    num_streams: int = 1,
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

    Frames are restored when they are requested, each from a window of its neighbours. Output n is the same in whatever
    order frames are requested. Building the filter takes the same time for clips of any length. It renders frame 0 once,
    unless `matrix` is given: its props tell matrix, range and field order.

    Colour: each frame is read as its props _Matrix, _Range and _ChromaLocation say; where it lacks one, that of frame 0
    stands in. All frames are written, and tagged, as frame 0 is; with `matrix` frame 0 is not looked at, and each is written
    as its own props say. All other props are kept; _Alpha is enlarged with the picture. Values outside of [0, 1], which
    legal YUV and float clips have, are hidden from the network and given back in the result.

    Args:
        clip: RGB, YUV or GRAY, 8 to 16 bit or float, progressive, of constant format and size; any size from 1x1, any
            length from 1 frame.
        model: name of an embedded or published model (`vsedvr models` lists them), path of an EDVR checkpoint (.pth, .pt,
            .ckpt, .safetensors), or an EDVR. A model of one channel restores GRAY, and the luma of YUV; the chroma is passed
            on, enlarged bicubically by x4 models.
        device_index: number of the GPU; -1 is the CPU. By default the first GPU, or the CPU where there is none.
        num_streams: known from other filters, where it lets a GPU work on several frames at once. Here one is used so far,
            whatever is given.
        auto_download: whether a published model that is not on this computer is downloaded when the filter is created. It
            needs the extra "models" of the package: pip install "vsedvr[models]".
        precision: "fp32", "fp16" or "bf16". By default fp32 on a CPU and for RGBS clips, else fp16. On a CPU fp16, and
            without AMX bf16, are slower than fp32, which then takes their place.
        padding: what stands in for frames before the first and after the last: "replicate", "reflection",
            "reflection_circle" or "circle". By default what the published model was tested with, or what models of the kind
            are tested with: reflection_circle, or replicate with predeblur.
        sc: keep windows within a scene. Cuts are read from the props _SceneChangePrev and _SceneChangeNext of each frame
            that has them and found in the picture elsewhere.
        tile: (width, height) of the tiles that each picture is restored in, in pixels of the clip; (0, 0) restores it whole,
            which is fastest. By default whole where the free memory allows it, else in the largest tiles that it does.
            They are settled when the filter is created. If memory runs out later, smaller tiles take over, with a warning.
        tile_pad: pixels of the clip that a tile sees around itself. By default 12, four times that where input and output
            are of one size: what keeps tiles within 1/255 of the whole on a real clip.
        matrix: of YUV frames that have no _Matrix, and of YUV that is made from RGB or GRAY: "709" (HD), "170m" (SD, NTSC),
            "470bg" (SD, PAL), "2020ncl" (UHD), "fcc", "240m", "ycgco", or its number. A _Matrix that a frame has goes
            first. In a player, where no frame can be had while the script is evaluated, YUV needs this argument. By default
            YUV from RGB is made with the matrix of _Primaries, or BT.709.
        output_format: format of the result, such as vs.RGBS or vs.YUV420P10. By default that of the clip.
        unknown: there are no more arguments; others are an error that names the nearest of these.

    Returns:
        The restored clip, four times the size with an x4 model, with all frame props of the clip.

    Raises:
        vapoursynth.Error: "edvr: ..." for every argument and clip that it cannot work with, when the filter is created. For
            a later frame that it cannot work with (interlaced, of an unknown matrix, not finite) when that is requested,
            with its number.
    """
    try:
        refuse_unknown(unknown, [name for name in inspect.signature(edvr).parameters if name != "unknown"])
        check_clip(clip)
        _check_streams(num_streams)
        device = choose_device(_optional(device_index, to_number, "device_index"))
        asked = _optional(precision, to_word, "precision", PRECISIONS)
        tile = _optional(tile, to_tile, "tile")
        tile_pad = _optional(tile_pad, to_number, "tile_pad")
        check_tile(tile, tile_pad)
        padding = _optional(padding, to_word, "padding", PADDINGS) or known_padding(model)
        sc = to_flag(sc, "sc")
        number = _optional(matrix, to_matrix, "matrix")
        dtype = choose_precision(asked, device, exact_input=clip.format.id == vs.RGBS)
        network = to_network(model, to_flag(auto_download, "auto_download"))
        check_channels(network.config, clip)
        output = to_output_format(output_format, clip, network.config.scale)
        _warn_of_slowness(device)
        name = "(an EDVR)" if isinstance(model, EDVR) else str(model)
        return build(clip, network, FilterSettings(name, device, dtype, output, padding, sc, tile, tile_pad, number))
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        logger.debug("the filter cannot be created", exc_info=True)
        raise edvr_error(error) from None


def _optional[T, **P](
    value: object, convert: Callable[Concatenate[object, P], T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    return None if value is None else convert(value, *args, **kwargs)


def _check_streams(num_streams: object) -> None:
    """
    Raises:
        ValueError: for less than one stream.
    """
    streams = to_number(num_streams, "num_streams")
    if streams < 1:
        raise ValueError(f"num_streams must be at least 1, got {streams}")
    if streams > 1:
        logger.info("num_streams is %d; one stream is used so far", streams)


@cache
def _warn_of_slowness(device: torch.device) -> None:
    """Once for a device."""
    if lacks_kernels(device):
        logger.warning(
            "the compiled kernels are missing, so a CPU takes two to three times as long: install g++ or clang, then vsedvr"
        )
    if device.type == "cpu" and THREADS_SPIN:
        logger.warning(
            "torch was loaded before the filter, so its threads spin while they wait, and slow down the rest: "
            "set OMP_WAIT_POLICY=PASSIVE, or import vsedvr.filter before torch"
        )
