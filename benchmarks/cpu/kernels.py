"""Measures how much the compiled kernels save: CPU seconds per frame with them and without.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu.kernels

Without a compiler vsedvr uses PyTorch's operators. Both forms run in turn in one process with one thread. CPU time hardly
depends on other programs. Prints the table in kernels.md.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Sequence
from unittest import mock

import torch
from torch import Tensor

from benchmarks.answers import check_same
from benchmarks.inputs import moving_texture, random_weights
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import Engine
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import native
from vsedvr.ops.findings import processor
from vsedvr.weights import load_model

FRAMES = 3
"""Number of frames that are timed in a row. The frame before is not timed, because it computes most of their features."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="how often each is timed; medians count")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(180, 320), help="of the clip")
    args = parser.parse_args(argv)
    if not native.is_available():
        raise SystemExit("vsedvr was installed without the compiled kernels: there is nothing to compare")
    torch.set_num_threads(1)
    height, width = args.size
    print(
        f"{processor()}, one thread; Python {platform.python_version()}, torch {torch.__version__}; "
        f"{width}x{height}, medians of {args.times}.\n"
    )
    print(markdown_table([["network", "without, s a frame", "with, s a frame", "times"]]), flush=True)
    edvr_m = EDVR(EDVRConfig()).eval()
    random_weights(edvr_m)
    for name, model in {"small": load_model("small"), "deblur": load_model("deblur"), "EDVR-M": edvr_m}.items():
        clip = moving_texture(model.config.num_frame + FRAMES, height, width)
        without, compiled = [], []
        for _ in range(args.times):
            without.append(seconds_and_frame(model, clip, kernels=False))
            compiled.append(seconds_and_frame(model, clip, kernels=True))
        check_same(name, without[0][1], compiled[0][1])
        slow, fast = (statistics.median(seconds for seconds, _ in runs) for runs in (without, compiled))
        print(markdown_row([name, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}"]), flush=True)


def seconds_and_frame(model: EDVR, clip: Tensor, kernels: bool) -> tuple[float, Tensor]:
    """Returns the processor seconds of a frame in the middle of a clip, and the last frame.

    Args:
        model: the network; a copy of it is used, as engines with the same network share what is packed for the kernels.
        clip: frames, (num_frame + FRAMES, 3, h, w) in [0, 1].
        kernels: whether the compiled kernels are used.
    """
    num_frame = model.config.num_frame
    with mock.patch.object(native, "is_available", return_value=kernels):
        engine = Engine(copy.deepcopy(model))
        engine.restore(range(num_frame), clip.__getitem__)
        begin = time.process_time()
        for first in range(1, FRAMES + 1):
            frame = engine.restore(range(first, first + num_frame), clip.__getitem__)
        return (time.process_time() - begin) / FRAMES, frame


if __name__ == "__main__":
    main()
