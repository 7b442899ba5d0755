"""Where the time of a frame goes on a GPU, in about two minutes: `python3 -m benchmarks.gpu.probe`, a step of gpu/short.py.

Every section is written as soon as it is known. One that fails says so, and ends the process, since an error of a kernel stays
with it. A CPU can stand in for the GPU, so that tests see each section work.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu import dcn, network
from benchmarks.inputs import moving_texture
from benchmarks.timing import medians
from vsedvr import ops
from vsedvr.atomic import write_whole
from vsedvr.infer import build_engine
from vsedvr.infer.device import computing
from vsedvr.infer.network import Network
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import cuda_dcn

__all__ = ["SECTIONS", "Place", "run_sections"]

LAST = torch.channels_last
Figures = dict[str, Any]


class Place:
    """Where the sections compute, with what."""

    def __init__(self, device: torch.device, sizes: Sequence[tuple[int, int]], config: EDVRConfig, times: int = 5) -> None:
        """
        Args:
            device: the GPU, or a CPU that stands in for it.
            sizes: (height, width) of pictures.
            config: the network.
            times: repetitions, of which the median is taken.
        """
        self.device = device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.sizes = sizes
        self.config = config
        self.times = times
        self.model = network.random_model(config)

    def ms(self, run: Callable[[], object]) -> float:
        """Milliseconds of one call on the device, with what the CPU does between the calls where that takes longer."""
        return round(1000 * medians({"run": run}, self.times, self.device)["run"], 4)

    def graph_ms(self, run: Callable[[], object]) -> float:
        """Milliseconds of one call in a CUDA graph: without the CPU. On a CPU those of a plain call."""
        return self.ms(self.graphed(run)[0])

    def launch_ms(self, run: Callable[[], object], calls: int = 10) -> float:
        """Milliseconds that the CPU needs to launch one call, the least of several rounds."""
        found = []
        for _ in range(self.times):
            self.wait()
            begin = time.perf_counter()
            for _ in range(calls):
                run()
            found.append((time.perf_counter() - begin) / calls)
        self.wait()
        return round(1000 * min(found), 4)

    def graphed(self, run: Callable[[], Any]) -> tuple[Callable[[], object], Any]:
        """What replays the kernels that `run` launches, and the tensors that `run` returned."""
        if self.device.type == "cpu":
            return run, run()
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run()
        return graph.replay, out

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def normal(self, *shape: int, std: float = 1) -> Tensor:
        """Random numbers in the layout and type of the network."""
        layout = LAST if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=layout).normal_(0, std)

    def network(self) -> EDVR:
        """The network as the engine runs it."""
        return Network.shared(self.model, self.device, self.dtype).model

    def picture(self, height: int, width: int) -> Tensor:
        """A picture on the device, (1, 3, height, width)."""
        return moving_texture(1, height, width).to(self.device, self.dtype).contiguous(memory_format=LAST)


def operator(place: Place, height: int, width: int) -> Figures:
    """The deformable convolution of 64 channels alone, in a graph: by its offsets, five pictures at once, by other kernels."""
    x, predicted, weight, bias = dcn.operands(64, height, width, place.dtype, place.device)
    smooth = F.interpolate(torch.randn(1, predicted.shape[1], 3, 4), (height, width), mode="bilinear")
    cases = {
        "random offsets": (x, predicted),
        "smooth offsets": (x, smooth.to(predicted).contiguous(memory_format=LAST)),
        "no offsets": (x, torch.zeros_like(predicted)),
        "five at once": (x.repeat(5, 1, 1, 1), predicted.repeat(5, 1, 1, 1)),
    }

    def run(given: tuple[Tensor, Tensor]) -> Tensor:
        picture, offsets = (tensor.contiguous(memory_format=LAST) for tensor in given)
        return ops.dcn(picture, offsets, weight, bias, 0.1)

    found = {name: place.graph_ms(partial(run, given)) for name, given in cases.items()}
    found["plain convolution"] = place.graph_ms(lambda: F.conv2d(x, weight, padding=1))
    found["to launch"] = place.launch_ms(lambda: run((x, predicted)))
    default, right = cuda_dcn.OPERATOR, run((x, predicted)).float()
    try:
        for kind in ("registers", "half2"):
            cuda_dcn.OPERATOR = kind
            found[f"random offsets, {kind}"] = place.graph_ms(partial(run, (x, predicted)))
            difference = (run((x, predicted)).float() - right).abs().max() / right.square().mean().sqrt()
            found[f"difference over rms, {kind}"] = float(difference)
    finally:
        cuda_dcn.OPERATOR = default
    return found


def frame(place: Place, height: int, width: int) -> Figures:
    """A clip that plays, as the filter has it; and each phase: on the device, launching it, and in a graph."""
    clip, found = moving_texture(8, height, width), Figures()
    for at_a_time in (1, 2, 3):
        engine = build_engine(place.model, place.device, place.dtype, (height, width), streams=at_a_time)
        found[f"ms a frame, {at_a_time} at a time"] = place.ms(network.playing(engine, clip, at_a_time))
    model, lq = engine.model, place.picture(height, width)
    with computing(place.device, place.dtype):
        features = model.extract(lq)
        aligned = [model.align(features, features)] * place.config.num_frame
        fused = model.fuse(aligned)
        phases: dict[str, Callable[[], object]] = {
            "extract": lambda: model.extract(lq),
            "align one": lambda: model.align(features, features),
            "align all at once": lambda: model.align_all([features] * place.config.num_frame, features),
            "fuse": lambda: model.fuse(aligned),
            "reconstruct": lambda: model.reconstruct(fused, lq),
        }
        for name, run in phases.items():
            found[name] = {"ms": place.ms(run), "to launch": place.launch_ms(run), "in a graph": place.graph_ms(run)}
    return found


def kernels(place: Place, height: int, width: int) -> Figures:
    """The kernels of one frame by name: how many, and how long in all."""
    engine = build_engine(place.model, place.device, place.dtype, (height, width))
    run = network.playing(engine, moving_texture(8, height, width))
    for _ in range(3):
        run()
    with torch.profiler.profile() as profile:
        run()
        place.wait()
    events = [event for event in profile.key_averages() if str(event.device_type).endswith(place.device.type.upper())]
    time_of = {event.key: event.self_device_time_total or event.self_cpu_time_total for event in events}
    top = sorted(events, key=lambda event: -time_of[event.key])[:30]
    return {
        "a frame": sum(event.count for event in events),
        "ms": round(sum(time_of.values()) / 1000, 3),
        "top: number, ms": {event.key[:100]: [event.count, round(time_of[event.key] / 1000, 4)] for event in top},
    }


def graph(place: Place, height: int, width: int) -> Figures:
    """A whole frame in one CUDA graph: does it give the same, and how long does it take?"""
    model, lq = place.network(), place.picture(height, width)

    def run() -> Tensor:
        features = model.extract(lq)
        aligned = model.align_all([features] * place.config.num_frame, features)
        return model.reconstruct(model.fuse(aligned), lq)

    with computing(place.device, place.dtype):
        eager = run().clone()
        replay, out = place.graphed(run)
        replay()
        place.wait()
        return {"equals eager": torch.equal(eager, out), "ms": place.ms(replay), "eager, ms": place.ms(run)}


def convolution(place: Place, height: int, width: int) -> Figures:
    """A 3x3 convolution, 64 to 64, in a graph: alone, and with what follows it in the network."""
    x, weight, bias = place.normal(1, 64, height, width), place.normal(64, 64, 3, 3, std=0.04), place.normal(64)
    runs: dict[str, Callable[[], object]] = {
        "alone": lambda: F.conv2d(x, weight, padding=1),
        "bias": lambda: F.conv2d(x, weight, bias, padding=1),
        "bias, LeakyReLU": lambda: F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.1, inplace=True),
    }
    if ops.runs_bias_act(x):
        runs["bias, LeakyReLU by our kernel"] = lambda: ops.bias_act(F.conv2d(x, weight, padding=1), bias, 0.1)
    found = {name: place.graph_ms(run) for name, run in runs.items()}
    found |= {f"{name}, to launch": place.launch_ms(run) for name, run in runs.items()}
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        found["alone, by the fastest of cuDNN's algorithms"] = place.graph_ms(runs["alone"])
    found["TFLOP/s alone"] = round(2 * 9 * 64 * 64 * height * width / found["alone"] / 1e9, 2)
    return found


def copies(place: Place, height: int, width: int) -> Figures:
    """The output from the card to the computer's memory and back."""
    found: Figures = {}
    for dtype in (torch.float32, torch.float16):
        there = torch.rand(3, 4 * height, 4 * width, device=place.device).to(dtype)
        here = torch.empty(there.shape, dtype=dtype, pin_memory=place.device.type == "cuda")
        copy = partial(Tensor.copy_, non_blocking=True)
        found[str(dtype).removeprefix("torch.")] = {
            "download": place.ms(partial(copy, here, there)),
            "upload": place.ms(partial(copy, there, here)),
        }
    return found


SECTIONS: dict[str, Callable[[Place, int, int], Figures]] = {
    section.__name__: section for section in (operator, frame, kernels, graph, convolution, copies)
}
"""What is measured for a picture of some height and width, most valuable first."""


def run_sections(names: Sequence[str], place: Place, output: Path) -> int:
    """Runs sections by name and writes all that is known into a JSON file after each.

    Returns:
        The exit status: 1 if a section failed, after which none runs.
    """
    found: Figures = {}
    for name in names:
        try:
            with torch.inference_mode():
                found[name] = {f"{width}x{height}": SECTIONS[name](place, height, width) for height, width in place.sizes}
        except Exception as error:
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
        write_whole(output, json.dumps(found, indent=1))
        if "failed" in found[name]:
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.probe", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("probe.json"))
    parser.add_argument("--launch", action="store_true", help="only launch the operator once at each size, for a profiler")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no card.")
        return 1
    device, sizes = torch.device("cuda", torch.cuda.current_device()), ((180, 320), (540, 960))
    if args.launch:
        for size in sizes:
            ops.dcn(*dcn.operands(64, *size, torch.float16, device), 0.1)
        torch.cuda.synchronize()
        return 0
    return run_sections(args.sections, Place(device, sizes, EDVRConfig()), args.output)


if __name__ == "__main__":
    sys.exit(main())
