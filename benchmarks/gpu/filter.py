"""The whole filter on a GPU, through VapourSynth, against cccv's filter where that is installed."""

import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import vapoursynth as vs

import vsedvr
from benchmarks.answers import MIN_PSNR, psnr
from benchmarks.clips import clip_of, one_by_one, pixels
from benchmarks.inputs import moving_texture, random_weights
from benchmarks.timing import medians

__all__ = ["SIZES", "filter_row"]

SIZES = ((192, 320), (544, 960))  # multiples of 16, which cccv needs


def filter_row(height: int, width: int, device: torch.device, times: int, deadline: float) -> dict[str, Any]:
    """Measures frames a second of EDVR-M, RGBH in and out, after one frame was compared with float32.

    Args:
        height, width: size of the input, multiples of 16.
        device: the GPU.
        times: repetitions, of which the median is taken.
        deadline: the time, on the clock of time.monotonic(), after which nothing is repeated.
    """
    clip = clip_of(moving_texture(16, height, width)).resize.Point(format=vs.RGBH) * 100
    index = -1 if device.type == "cpu" else device.index or 0
    model = vsedvr.EDVR().eval()
    weights = random_weights(model)
    exact = pixels(vsedvr.edvr(clip, model=model, precision="fp32", sc=False, device_index=index).get_frame(2)).float()
    filters = {"vsedvr": vsedvr.edvr(clip, model=model, sc=False, device_index=index)}
    problems = []
    value = psnr(pixels(filters["vsedvr"].get_frame(2)).float(), exact)
    if not value >= MIN_PSNR:
        problems.append(f"filter, {width}x{height}: {value:.1f} dB to fp32, at least {MIN_PSNR} expected")
    if find_spec("cccv"):
        filters |= cccv_filters(weights, clip, device)
    runs: dict[str, Callable[[], object]] = {name: one_by_one(filtered) for name, filtered in filters.items()}
    seconds = medians(runs, times, device, deadline)
    return {
        "size": f"{width}x{height}",
        "fps": {name: 1 / value for name, value in seconds.items()},
        "ratio": seconds.get("cccv as installed", float("nan")) / seconds["vsedvr"],
        "problems": problems,
    }


def cccv_filters(weights: dict[str, torch.Tensor], clip: vs.VideoNode, device: torch.device) -> dict[str, vs.VideoNode]:
    """The filters of cccv 0.1.0 with the same weights, as installed and in one tile; in fp16 on a GPU."""
    from cccv import AutoModel
    from cccv.config.vsr.edvr_config import EDVRConfig

    filters = {}
    config = {"num_feat": 64, "num_frame": 5, "num_reconstruct_block": 10, "scale": 4}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / "edvr_random.pth"
        torch.save({"params": weights}, path)
        for name, tile in (("cccv as installed", (128, 128)), ("cccv, one tile", None)):
            settings = EDVRConfig(name=path.name, path=str(path), **config)
            model = AutoModel.from_config(settings, device=device, fp16=device.type == "cuda", tile=tile)
            source = clip if device.type == "cuda" else clip.resize.Point(format=vs.RGBS)
            filters[name] = model.inference_video(source)
    return filters
