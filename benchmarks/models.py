"""What the embedded models reach: the figures in their README.

    python benchmarks/models.py --eval data/eval --output runs/models

Below --eval lie vid4/ (GT and BIx4 with calendar and walk, as distributed), deblur/ (GT and blur with car-roundabout) and
other/park_joy_480x270_420p_50fps.y4m: none of it is trained on.
Whole clips, through the engine that the filter runs; PSNR of luma in dB, the mean over frames. Table: benchmarks/models.md.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vsedvr import load_model
from vsedvr.data.atomic import write_whole
from vsedvr.data.pairs import Pair, find_pairs, open_pair, to_frame, to_tensor
from vsedvr.evaluation.evaluate import Restore, Restorer, baseline, evaluate, mean_score
from vsedvr.evaluation.metrics import Protocol
from vsedvr.train.degradation import Compression, Degradation, MotionBlur, Noise, degrade
from vsedvr.weights import EMBEDDED

CPU = torch.device("cpu")
Y = Protocol(y_channel=True)
PARK_JOY = "other/park_joy_480x270_420p_50fps.y4m"
TABLE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Test:
    model: str
    what: str
    gt: str
    """Clips below --eval."""
    lq: str = ""
    """The same in low quality; without it the degradation makes it."""
    degradation: Degradation | None = None


TESTS = (
    Test("small", "bicubic x4", "vid4/GT", lq="vid4/BIx4"),
    *(Test("compression", f"H.264, crf {crf}", "vid4/GT", degradation=Compression(crf=(crf, crf))) for crf in (28, 32, 36)),
    Test("denoise", "noise, sigma 25", "vid4/GT", degradation=Noise(sigma=(25, 25))),
    Test("deblur", "motion blur, a whole frame interval", "deblur/GT", lq="deblur/blur"),
    Test("deblur", "motion blur, a whole frame interval", PARK_JOY, degradation=MotionBlur((1, 1))),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--output", type=Path, required=True, help="folder for decoded and degraded clips")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=PATH", help="a file in place of an embedded model"
    )
    parser.add_argument("--only", action="append", choices=sorted({test.model for test in TESTS}), help="these models alone")
    parser.add_argument("--frames", type=int, help="only the first ones of each clip")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes: benchmarks/models.md")
    args = parser.parse_args(argv)
    paths = {name: name for name in EMBEDDED} | dict(model.split("=", 1) for model in args.model)
    tests = [test for test in TESTS if test.model in (args.only or paths)]
    lines = []
    for test in tests:
        restore = Restorer(load_model(paths[test.model]), CPU, torch.float32)
        for pair in open_test(test, restore.model.config.scale, args):
            line = row(test, pair, restore)
            print(line, flush=True)
            lines.append(line)
    write_whole(args.table, table(lines, args.frames))


def open_test(test: Test, scale: int, args: argparse.Namespace) -> list[Pair]:
    found = find_pairs(args.eval / test.gt, args.eval / test.lq if test.lq else None)
    cache = args.output / "cache"
    if test.degradation is None:
        return [open_pair(clip, paths, cache, scale, args.frames) for clip, paths in found.items()]
    pairs = []
    for clip, (gt, _) in found.items():
        sharp = open_pair(clip, (gt, None), cache, scale, args.frames)
        folder = args.output / f"{test.model}, {test.what}, {sharp.num_frames}" / clip
        if not folder.exists():
            make_low_quality(sharp, test.degradation, folder)
        pairs.append(open_pair(clip, (gt, folder), cache, scale, args.frames))
    return pairs


def make_low_quality(sharp: Pair, degradation: Degradation, folder: Path) -> None:
    clip = torch.stack([to_tensor(sharp.gt_frame(n)) for n in range(sharp.num_frames)])
    folder.mkdir(parents=True)
    for n, frame in enumerate(degrade(clip, [degradation], np.random.default_rng(0))):
        Image.fromarray(to_frame(frame)).save(folder / f"{n:08}.png", compress_level=1)


def row(test: Test, pair: Pair, restore: Restore) -> str:
    before, after = (mean(method, pair) for method in (baseline, restore))
    return f"| {test.model} | {test.what} | {pair.name} | {before:.2f} | {after:.2f} | {after - before:+.2f} |"


def mean(restore: Restore, pair: Pair) -> float:
    return mean_score(evaluate(restore, [pair], Y)[pair.name].values()).psnr


def table(lines: Sequence[str], frames: int | None) -> str:
    part = f"the first {frames} frames of each clip" if frames else "whole clips"
    return f"""# What the embedded models reach
PSNR of luma in dB, {part}, fp32. By `python benchmarks/models.py` (with --eval and --output). Before: bicubic enlargement
for x4, else the input.

| model | input | clip | before | restored | gain |
|---|---|---|---|---|---|
{"".join(f"{line}{chr(10)}" for line in lines)}"""


if __name__ == "__main__":
    main()
