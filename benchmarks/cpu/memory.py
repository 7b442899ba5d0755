"""Measures peak memory of restoring on a CPU, against the estimate by which automatic tiles are chosen.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu.memory

Each row is measured in a process of its own: the rise of its peak resident size from after a restored 16x16 picture, over two
windows that follow each other, with room to keep one window of features. The networks are random, since memory does not depend
on the weights. What was restored is then compared with the network in its plain form. Prints the table in memory.md.
"""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.answers import MIN_PSNR, check_same, psnr
from benchmarks.inputs import moving_texture, random_weights
from benchmarks.plain import plain_form
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import Engine, Tiling, feature_bytes, working_bytes
from vsedvr.model import EDVR, EDVRConfig

ROOT = Path(__file__).parent.parent.parent
CPU = torch.device("cpu")
TILE_PAD = 16
CONFIGS = {
    "small": EDVRConfig(3, 3, 32, 5, 4, 3, 24, num_tail_feat=32),
    "EDVR-M": EDVRConfig(),
    "EDVR-L, 5 reconstruction blocks": EDVRConfig(num_feat=128, num_reconstruct_block=5),
    "EDVR-M x1": EDVRConfig(scale=1, with_predeblur=True),
}
CASES = [
    ("small", 90, 160, (0, 0)),
    ("small", 180, 320, (0, 0)),
    ("small", 360, 640, (0, 0)),
    ("small", 360, 640, (160, 160)),
    ("EDVR-M", 90, 160, (0, 0)),
    ("EDVR-M", 180, 320, (0, 0)),
    ("EDVR-M", 180, 320, (96, 96)),
    ("EDVR-L, 5 reconstruction blocks", 90, 160, (0, 0)),
    ("EDVR-M x1", 360, 640, (0, 0)),
]


def main() -> None:
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads; MiB\n")
    print(markdown_table([["network", "picture", "tile", "estimate", "measured", "ratio"]]), flush=True)
    for k, (name, height, width, tile) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.cpu.memory", str(k)]
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        estimate, measured = (int(number) / 2**20 for number in output.split())
        size = "whole" if tile == (0, 0) else f"{tile[0]}x{tile[1]}"
        figures = (f"{estimate:.0f}", f"{measured:.0f}", f"{estimate / measured:.2f}")
        print(markdown_row([name, f"{width}x{height}", size, *figures]), flush=True)


def measure(config: EDVRConfig, height: int, width: int, tile: tuple[int, int]) -> tuple[int, int]:
    """Returns the bytes that two windows are estimated to take, and those that they take in a fresh process."""
    model, tiling = EDVR(config).eval(), Tiling(height, width, tile, TILE_PAD, config)
    random_weights(model)
    window = config.num_frame * feature_bytes(config, tiling.tiles[0], torch.float32)
    clip = moving_texture(config.num_frame + 1, height, width)
    Engine(model).restore(range(config.num_frame), clip[:, :, :16, :16].__getitem__)
    engine = Engine(model, tiling=tiling, cache_bytes=window)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(2):
        restored = engine.restore(range(n, n + config.num_frame), clip.__getitem__)
    measured = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    check_answer(model, clip[1:], restored, whole=tile == (0, 0))
    return window + working_bytes(tiling, torch.float32, CPU), measured


def check_answer(model: EDVR, window: torch.Tensor, restored: torch.Tensor, whole: bool) -> None:
    """Compares a restored picture with the plain form: within rounding, or by PSNR if tiles cannot see the whole picture."""
    with torch.inference_mode():
        plain = plain_form(model, window).clamp(0, 1)
    if whole:
        check_same("the engine and the plain form", restored, plain)
    elif not psnr(restored, plain) >= MIN_PSNR:
        raise SystemExit(f"tiles: {psnr(restored, plain):.1f} dB to the plain form, at least {MIN_PSNR} is expected")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, height, width, tile = CASES[int(sys.argv[1])]
        print(*measure(CONFIGS[name], height, width, tile))
    else:
        main()
