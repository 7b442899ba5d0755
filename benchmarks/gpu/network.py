"""EDVR on a GPU: the engine against the plain form. Run as a module, it prints the seconds until a first frame is restored."""

import copy
import functools
import math
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.answers import MIN_PSNR, psnr
from benchmarks.gpu import processes
from benchmarks.inputs import moving_texture, random_weights
from benchmarks.plain import plain_form
from benchmarks.timing import medians
from vsedvr.infer import (
    PRECISIONS,
    Engine,
    Pending,
    Tiling,
    build_engine,
    choose_tiling,
    clip_windows,
    feature_bytes,
    free_bytes,
    working_bytes,
)
from vsedvr.infer.device import computing
from vsedvr.model import EDVR, EDVRConfig

__all__ = ["MODELS", "SIZES", "check_answers", "first_frame", "network_row"]

MODELS = {"EDVR-M": EDVRConfig(), "EDVR-L": EDVRConfig(num_feat=128, num_reconstruct_block=40)}
SIZES = ((180, 320), (270, 480), (480, 720), (540, 960))


def check_answers(name: str, config: EDVRConfig, device: torch.device, size: tuple[int, int] = (96, 128)) -> list[str]:
    """Compares the engine in float32 with the plain form in float32.

    Returns:
        A sentence for each thing that is wrong; none if all is well.
    """
    model, clip = random_model(config), moving_texture(config.num_frame, *size)
    restored = Engine(model, device).restore(range(config.num_frame), clip.__getitem__)
    with computing(device, torch.float32):  # the plain form does not set the precision itself
        plain = plain_run(model, clip, device, torch.float32)()
    difference = float((plain - restored).abs().max())
    return [] if difference < 1e-4 else [f"{name} in fp32 differs from the plain form by {difference:.1e}"]


def network_row(
    name: str,
    config: EDVRConfig,
    height: int,
    width: int,
    device: torch.device,
    limits: dict[str, float],
    times: int,
    deadline: float,
) -> dict[str, Any]:
    """Measures frames a second of a clip that plays, in each precision and of the plain form in float16.

    The pictures come from the computer's memory and go back there. PSNR to float32 and peak memory are measured as well.

    Args:
        name: the network's name in the table.
        config: the network.
        height, width: size of the input.
        device: the GPU.
        limits: what `dcn.ceilings` found for it.
        times: repetitions, of which the median is taken.
        deadline: the time, on the clock of time.monotonic(), after which nothing is repeated.
    """
    model, clip = random_model(config), moving_texture(8, height, width)
    seconds: dict[str, float] = {}
    memory, answers = {}, {}
    for k, (precision, dtype) in enumerate(PRECISIONS.items()):
        memory[precision] = measure_memory(model, clip, device, dtype)
        engine = build_engine(model, device, dtype, (height, width))
        answers[precision] = engine.restore(range(config.num_frame), clip.__getitem__)
        until = time.monotonic() + (deadline - time.monotonic()) / (4 - k)
        seconds |= medians({precision: playing(engine, clip)}, times, device, until)
        del engine  # frees its features, which would make the next engine's tiles smaller
    plain = plain_run(model, clip, device, torch.float16)
    seconds |= medians({"plain fp16": plain}, times, device, deadline)
    if not math.isnan(seconds["plain fp16"]):
        answers["plain fp16"] = plain()
    quality = {name: psnr(answer, answers["fp32"]) for name, answer in answers.items() if name != "fp32"}
    return {
        "model": name,
        "size": f"{width}x{height}",
        "fps": {precision: 1 / value for precision, value in seconds.items()},
        "ratio": seconds["plain fp16"] / seconds["fp16"],
        "share_of_matrix": flop_per_pixel(config) * height * width / seconds["fp16"] / limits["matrix"],
        "psnr": quality,
        "memory": {precision: {"measured": m, "estimate": e} for precision, (m, e) in memory.items()},
        "problems": [f"{name}, {width}x{height}, {problem}" for problem in problems_of(quality, memory)],
    }


def problems_of(quality: dict[str, float], memory: dict[str, tuple[int, int]]) -> Iterator[str]:
    """Yields what is wrong: a PSNR to float32 (dB) below MIN_PSNR, or memory (bytes measured, estimated) above the estimate."""
    for precision in ("fp16", "bf16"):
        if not quality[precision] >= MIN_PSNR:
            yield f"{precision}: {quality[precision]:.1f} dB to fp32, at least {MIN_PSNR} expected"
    for precision, (measured, estimate) in memory.items():
        if measured > estimate:
            yield f"{precision}: takes {measured >> 20} MiB, at most {estimate >> 20} expected"


def random_model(config: EDVRConfig) -> EDVR:
    """Makes a network with the random weights that all speed benchmarks use."""
    model = EDVR(config).eval()
    random_weights(model)
    return model


def playing(engine: Engine, clip: Tensor, at_a_time: int = 1) -> Callable[[], Tensor]:
    """Returns a function that restores the next frame of an endless clip at each call; every call sees one new frame.

    Before it waits for a frame, it launches those after it, so that `at_a_time` frames are with the device.
    """

    def numbers() -> Iterator[int]:
        n = engine.config.num_frame
        while True:
            yield n
            n += 1

    frames, launched = numbers(), deque[Pending]()

    def run() -> Tensor:
        while len(launched) < at_a_time:
            indices = clip_windows(engine.config, 1 << 40, "replicate").indices(next(frames))
            launched.append(engine.launch(indices, lambda i: clip[i % len(clip)]))
        return launched.popleft().result().float()

    return run


def plain_run(model: EDVR, clip: Tensor, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Returns a function that restores the clip's first window in the plain form, with transfers to the device and back."""
    config = model.config
    network = copy.deepcopy(model).to(device, dtype)

    def run() -> Tensor:
        with torch.inference_mode():
            lq = clip[: config.num_frame].to(device, dtype)
            return plain_form(network, lq).float().clamp(0, 1).cpu()

    return run


@functools.cache
def flop_per_pixel(config: EDVRConfig) -> float:
    """Returns the operations for each input pixel in a clip that plays.

    It counts one extraction, an alignment for each frame of the window, the fusion and the reconstruction.
    """
    model, side = EDVR(config), 64
    frame = torch.rand(1, config.num_in_ch, side, side)
    with FlopCounterMode(display=False) as counter:  # with gradients, so that only operators that it knows are used
        features = model.extract(frame)
        model.reconstruct(model.fuse([model.align(features, features) for _ in range(config.num_frame)]), frame)
    return counter.get_total_flops() / side**2


def measure_memory(model: EDVR, clip: Tensor, device: torch.device, dtype: torch.dtype) -> tuple[int, int]:
    """Measures the bytes that restoring two frames takes, with room for one window of features.

    Returns:
        What was measured (0 on a CPU), and the estimate that automatic tiles go by.
    """
    config, (height, width) = model.config, clip.shape[2:]
    tiling = choose_tiling(Tiling.whole(height, width, config), dtype, device, free_bytes(device) // 2)
    kept = config.num_frame * feature_bytes(config, tiling.tiles[0], dtype)
    estimate = kept + working_bytes(tiling, dtype, device)
    if device.type != "cuda":
        return 0, estimate
    engine = Engine(model, device, dtype, tiling, kept)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    for n in range(2):
        engine.restore(range(n, n + config.num_frame), clip.__getitem__)
    return torch.cuda.max_memory_allocated(device) - before, estimate


def first_frame() -> dict[str, float]:
    """Measures the seconds until EDVR-M at 960x540 has restored a first frame, in fresh processes, with its weights in memory.

    Returns:
        Seconds where CuPy has to compile the kernels, and where it has them in its cache; nothing for what took a minute.
    """
    seconds = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("kernels compiled", "kernels cached"):
            outcome = processes.run([sys.executable, "-m", "benchmarks.gpu.network"], timeout=60, CUPY_CACHE_DIR=cache)
            if outcome.failed:
                raise RuntimeError(outcome.last_line)
            if outcome.code is not None:
                seconds[state] = float(outcome.last_line)
    return seconds


if __name__ == "__main__":
    network, pictures = random_model(EDVRConfig()), moving_texture(5, 540, 960)
    begin = time.perf_counter()
    engine = build_engine(network, torch.device("cuda", 0), torch.float16, (540, 960))
    engine.restore(range(5), pictures.__getitem__)
    print(time.perf_counter() - begin)
