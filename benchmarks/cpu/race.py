"""`make bench`: vsedvr on a CPU against the plain form of EDVR, whose answers are compared first.

The plain form is the EDVR class of cccv 0.1.0 (BasicSR's network with torchvision's operator), which computes five frames anew
for every output; OpenVINO runs the same graph. All have the same random weights with offsets of a few pixels. They run in one
process, in turn, with OMP_WAIT_POLICY=PASSIVE, as the filter sets it; figures are medians. The networks run twice: with
glibc's allocator as it is, and with one that keeps large blocks, which spares page faults.

Prints the tables in race.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
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
from benchmarks.answers import MIN_PSNR, check_same, psnr
from benchmarks.clips import clip_of, one_by_one, pixels
from benchmarks.inputs import moving_texture, random_weights
from benchmarks.timing import medians
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import Engine, clip_windows
from vsedvr.ops import native
from vsedvr.ops.findings import processor

core = vs.core
ROOT = Path(__file__).parent.parent.parent
KEEP_BLOCKS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
HEIGHT, WIDTH = 192, 320  # the plain form cannot run 180x320


def race_networks(times: int) -> None:
    """Times one output frame of EDVR-M x4 in a clip that plays: the plain form, OpenVINO, and the engine."""
    model = vsedvr.EDVR().eval()
    plain = ARCH_REGISTRY.get(ArchType.EDVR)(num_feat=64, num_frame=5, num_reconstruct_block=10).eval()
    plain.load_state_dict(random_weights(model))
    clip = moving_texture(2 * times + 8, HEIGHT, WIDTH)
    has_amx = torch.cpu._is_amx_tile_supported()

    def run_plain(n: int = 4) -> torch.Tensor:
        with torch.inference_mode():
            return plain(clip[n - 2 : n + 3][None]).view(3, 4 * HEIGHT, 4 * WIDTH)

    with_openvino = openvino_form(plain, clip[None, :5])
    for dtype in (torch.float32, torch.bfloat16) if has_amx else (torch.float32,):
        engine = Engine(model, dtype=dtype)
        numbers = iter(range(2, len(clip)))

        def run_ours(engine: Engine = engine, numbers: Iterator[int] = numbers) -> torch.Tensor:
            n = next(numbers)
            return engine.restore(clip_windows(model.config, len(clip), "replicate").indices(n), clip.__getitem__)

        first, exact = run_ours(), run_plain(2).clamp(0, 1)
        quality = psnr(first, exact)
        if dtype == torch.float32:
            check_same("vsedvr and the plain form", first, exact)
            check_same("OpenVINO and vsedvr", with_openvino(), first)
        elif not quality >= MIN_PSNR:
            raise SystemExit(f"bfloat16: {quality:.1f} dB to the plain form in float32, at least {MIN_PSNR} is expected")
        seconds = medians({"plain": run_plain, "openvino": with_openvino, "ours": run_ours}, times)
        what = f"EDVR-M x4, {WIDTH}x{HEIGHT}, {str(dtype)[6:]}"
        print_row(f"{what}, {quality:.0f} dB to the plain form", seconds["plain"], seconds["ours"])
        print_row(f"{what}, the plain form in fp32 by OpenVINO", seconds["openvino"], seconds["ours"])
    if not has_amx:
        print(markdown_row(["the same in bfloat16", "", "no AMX", ""]))


def openvino_form(plain: torch.nn.Module, lq: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Compiles the plain form with OpenVINO for this input, in float32, which takes minutes; returns a function to run it."""
    with warnings.catch_warnings(action="ignore"):  # tracing warns of sizes that are constant here
        graph = openvino.convert_model(plain, example_input=lq, input=[list(lq.shape)])
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda: torch.from_numpy(next(iter(compiled([lq.numpy()]).values()))).view(3, 4 * HEIGHT, 4 * WIDTH)


def race_filters(times: int) -> None:
    """Times whole chains through VapourSynth: cccv's filter and ours, with the same weights.

    Results are compared with cccv restoring whole pictures. As it is installed it works in tiles, and differs at their edges.
    """
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
                check_same("cccv's filter and ours", pixels(theirs.get_frame(2)), pixels(ours.get_frame(2)))
            seconds = medians({"cccv": one_by_one(theirs), "ours": one_by_one(ours)}, times)
            print_row(f"filter, EDVR-M x4, {WIDTH}x{HEIGHT}, fp32, cccv {label}", seconds["cccv"], seconds["ours"])


def print_row(what: str, other: float, ours: float) -> None:
    print(markdown_row([what, f"{other:.2f} s", f"{ours:.2f} s", f"{other / ours:.2f}x"]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="repetitions, of which the median is taken")
    parser.add_argument("--part", choices=("networks", "all"), help="run only this, in this process and with its allocator")
    args = parser.parse_args()
    if args.part is None:
        run_parts(args.times)
        return
    print(markdown_table([["what", "other", "vsedvr", "ratio"]]), flush=True)
    race_networks(args.times)
    if args.part == "all":
        race_filters(args.times)


def run_parts(times: int) -> None:
    """Runs the race in processes of their own, one for each setting of the allocator."""
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
