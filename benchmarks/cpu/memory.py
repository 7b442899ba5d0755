"""Peak memory of restoring against the estimate that automatic tiles go by. On a CPU; each figure from a process of its own.

Measured is the rise of the peak resident size from after a restored 16x16 picture, over two windows that follow each other
with room to keep one window of features. Random networks: memory does not depend on the weights. Writes a table to stdout:
the one in memory.md.
"""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from vsedvr.infer import Engine, Tiling, feature_bytes, working_bytes
from vsedvr.model import EDVR, EDVRConfig

ROOT = Path(__file__).parent.parent.parent
CPU = torch.device("cpu")
CONFIGS = {
    "small": EDVRConfig(3, 3, 32, 5, 4, 3, 24, num_tail_feat=32),
    "EDVR-M": EDVRConfig(),
    "EDVR-L, 5 reconstruction blocks": EDVRConfig(num_feat=128, num_reconstruct_block=5),
    "EDVR-M x1": EDVRConfig(hr_in=True, with_predeblur=True),
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
    print("| network | picture | tile | estimate | measured | ratio |\n|---|---|---|---|---|---|", flush=True)
    for k, (name, height, width, tile) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.cpu.memory", str(k)]
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        estimate, measured = (int(number) / 2**20 for number in output.split())
        size = "whole" if tile == (0, 0) else f"{tile[0]}x{tile[1]}"
        print(
            f"| {name} | {width}x{height} | {size} | {estimate:.0f} | {measured:.0f} | {estimate / measured:.2f} |", flush=True
        )


def measure(name: str, height: int, width: int, tile: tuple[int, int]) -> None:
    config = CONFIGS[name]
    model, tiling = EDVR(config).eval(), Tiling(height, width, tile, 16, config)
    window = config.num_frame * feature_bytes(config, tiling.tiles[0], torch.float32)
    clip = torch.rand(config.num_frame + 1, 3, height, width)
    Engine(model).restore(range(config.num_frame), clip[:, :, :16, :16].__getitem__)
    engine = Engine(model, tiling=tiling, cache_bytes=window)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(2):
        engine.restore(range(n, n + config.num_frame), clip.__getitem__)
    measured = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(window + working_bytes(tiling, torch.float32, CPU), measured)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*CASES[int(sys.argv[1])])
    else:
        main()
