"""`make bench`: vsedvr on a CPU against the plain form of EDVR, answers checked first.

The plain form is the EDVR class of cccv 0.1.0 (BasicSR's network with torchvision's operator), which recomputes five frames
for every output; OpenVINO runs the same graph. All have the same random weights with offsets of a few pixels and run in one
process, turn by turn, with OMP_WAIT_POLICY=PASSIVE, which `import vsedvr` sets; figures are medians. Everything runs twice:
with glibc's allocator as it is, and with one that keeps large blocks, which spares page faults.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import openvino
import torch
import torchvision
import vapoursynth as vs
from cccv import ARCH_REGISTRY, ArchType, AutoModel
from cccv.config.vsr.edvr_config import EDVRConfig as CccvConfig

import vsedvr
from benchmarks.clips import clip_of, one_by_one, pixels, play
from benchmarks.inputs import moving_texture, random_weights
from benchmarks.timing import medians, processor
from vsedvr.infer import Engine, clip_windows
from vsedvr.ops import native

core = vs.core
ROOT = Path(__file__).parent.parent.parent
KEEP_BLOCKS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
HEIGHT, WIDTH = 192, 320  # the plain form cannot run 180x320


def race_networks(times: int) -> None:
    """EDVR-M x4, one output frame of a clip that plays on: the plain form against the engine."""
    model = vsedvr.EDVR().eval()
    plain = ARCH_REGISTRY.get(ArchType.EDVR)(num_feat=64, num_frame=5, num_reconstruct_block=10).eval()
    plain.load_state_dict(random_weights(model))
    clip = moving_texture(2 * times + 8, HEIGHT, WIDTH)
    precisions = [torch.float32] + [torch.bfloat16] * torch.cpu._is_amx_tile_supported()

    def run_plain(n: int = 4) -> torch.Tensor:
        with torch.inference_mode():
            return plain(clip[n - 2 : n + 3][None]).view(3, 4 * HEIGHT, 4 * WIDTH)

    with_openvino = openvino_form(plain, clip[None, :5])
    for dtype in precisions:
        engine = Engine(model, dtype=dtype)
        numbers = iter(range(2, len(clip)))

        def run_ours(engine: Engine = engine, numbers: Iterator[int] = numbers) -> torch.Tensor:
            n = next(numbers)
            return engine.restore(clip_windows(model.config, len(clip), "replicate").indices(n), clip.__getitem__)

        first, exact = run_ours(), run_plain(2).clamp(0, 1)
        if dtype == torch.float32:
            check(exact, first)
            check(with_openvino(), first)
        psnr = -10 * torch.log10((first - exact).square().mean()).item()
        result = medians({"plain": run_plain, "openvino": with_openvino, "ours": run_ours}, times)
        what = f"EDVR-M x4, {WIDTH}x{HEIGHT}, {str(dtype)[6:]}"
        row(f"{what}, {psnr:.0f} dB to the plain form", result["plain"], result["ours"])
        row(f"{what}, the plain form in fp32 by OpenVINO", result["openvino"], result["ours"])
    if torch.bfloat16 not in precisions:
        print("| the same in bfloat16 | | no AMX | |")


def openvino_form(plain: torch.nn.Module, lq: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The plain form compiled by OpenVINO for this input, fp32; converting takes some minutes."""
    with warnings.catch_warnings(action="ignore"):  # of tracing: the sizes are constant here
        graph = openvino.convert_model(plain, example_input=lq, input=[list(lq.shape)])
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda: torch.from_numpy(next(iter(compiled([lq.numpy()]).values()))).view(3, 4 * HEIGHT, 4 * WIDTH)


def race_filters(times: int) -> None:
    """Whole chains through VapourSynth: cccv's filter against ours, the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edvr_random.pth"
        torch.save({"params": random_weights(vsedvr.EDVR())}, path)
        clip = clip_of(moving_texture(times + 5, HEIGHT, WIDTH))
        config = {"num_feat": 64, "num_frame": 5, "num_reconstruct_block": 10, "scale": 4}
        for label, tile in (("tile=None", None), ("as installed", (128, 128))):
            settings = CccvConfig(name=path.name, path=str(path), **config)
            theirs = AutoModel.from_config(settings, device=torch.device("cpu"), fp16=False, tile=tile).inference_video(clip)
            ours = vsedvr.edvr(clip, model=path, padding="replicate", sc=False, device_index=-1)
            if tile is None:
                check(pixels(theirs.get_frame(2)), pixels(ours.get_frame(2)))
            result = medians({"cccv": one_by_one(theirs), "ours": one_by_one(ours)}, times)
            row(f"filter, EDVR-M x4, {WIDTH}x{HEIGHT}, fp32, cccv {label}", result["cccv"], result["ours"])


def measure_overhead(times: int) -> None:
    """The filter around an engine that does nothing, against a callback that does nothing, at 1080p RGBS."""
    clip = core.std.BlankClip(format=vs.RGBS, width=1920, height=1080, length=times, color=[0.2, 0.4, 0.6], keep=True)
    model = vsedvr.EDVR(vsedvr.EDVRConfig(num_feat=8, hr_in=True, num_tail_feat=8)).eval()
    restore = Engine.restore
    try:
        Engine.restore = lambda self, indices, load: load(indices[2])  # type: ignore[method-assign]
        # a new one for each run: the core keeps the frames of the old ones
        filtered = iter([vsedvr.edvr(clip, model=model, tile=(0, 0), device_index=-1) for _ in range(20)])
        passed = iter([clip.std.ModifyFrame(clip, lambda n, f: f) for _ in range(20)])
        result = medians({"filter": lambda: play(next(filtered)), "pass": lambda: play(next(passed))}, 5)
    finally:
        Engine.restore = restore  # type: ignore[method-assign]
    overhead = (result["filter"] - result["pass"]) / times * 1000
    print(f"| the filter itself at 1080p RGBS, above a ModifyFrame that passes frames on | | {overhead:.1f} ms a frame | |")


def measure_small(times: int) -> None:
    """Frames per second of the embedded model, whole chain from 8-bit YUV to 8-bit YUV."""
    for width, height in ((160, 120), (320, 180), (480, 270)):
        source = clip_of(moving_texture(times + 3, height, width)).resize.Bicubic(format=vs.YUV420P8, matrix=1)
        restored = vsedvr.edvr(source, device_index=-1)
        restored.get_frame(0)
        start = time.perf_counter()
        play(restored[1 : times + 1])
        print(f"| small, x4, {width}x{height} YUV420P8 | | {times / (time.perf_counter() - start):.2f} fps | |")


def check(one: torch.Tensor, other: torch.Tensor) -> None:
    difference = (one.clamp(0, 1) - other).abs().max().item()
    if not difference < 1e-4:
        sys.exit(f"the answers differ by {difference}: no race")


def row(what: str, plain: float, ours: float) -> None:
    print(f"| {what} | {plain:.2f} s | {ours:.2f} s | {plain / ours:.2f}x |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=5, help="repetitions, of which the median is taken")
    parser.add_argument("--part", choices=("networks", "all"), help="run this here, with this process's allocator")
    arguments = parser.parse_args()
    if arguments.part is None:
        run_parts(arguments.times)
        return
    print("| what | other | vsedvr | ratio |\n|---|---|---|---|", flush=True)
    race_networks(arguments.times)
    if arguments.part == "all":
        race_filters(arguments.times)
        measure_overhead(100)
        measure_small(20)


def run_parts(times: int) -> None:
    isa = ("any processor", "AVX2", "AVX-512")[native.best_isa()] if native.is_available() else "none"
    print(
        f"{processor()}, {torch.get_num_threads()} threads, kernels for {isa}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, VapourSynth R{core.core_version.release_major}, "
        f"OpenVINO {openvino.__version__}, vsedvr {vsedvr.__version__}; medians of {times}."
    )
    for label, part, environment in (
        ("The allocator as it is", "all", {}),
        ("One that keeps large blocks", "networks", KEEP_BLOCKS),
    ):
        print(f"\n{label}" + "".join(f", {name}={value}" for name, value in environment.items()) + ":\n", flush=True)
        command = [sys.executable, "-m", "benchmarks.cpu.race", "--part", part, "--times", str(times)]
        subprocess.run(command, cwd=ROOT, env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **environment}, check=True)


if __name__ == "__main__":
    main()
