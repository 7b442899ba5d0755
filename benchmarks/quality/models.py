"""What the embedded models reach: the figures in their README, and those that weights are chosen by.

    python -m benchmarks.quality.models --eval data/eval --output runs/models
    python -m benchmarks.quality.models --valid data/train/valid --frames 3 --output runs/valid

Below --eval lie vid4/ (GT and BIx4 with calendar and walk, as distributed), deblur/ (GT and blur with car-roundabout) and
other/park_joy_480x270_420p_50fps.y4m; below --valid any clips. None of it is trained on.
Through the engine that the filter runs; PSNR of luma in dB, the mean over frames. Tables: benchmarks/quality/models.md and, of
--valid, benchmarks/quality/models_valid.md with the mean over all clips.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vsedvr import load_model
from vsedvr.atomic import write_whole
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair, to_frame, to_tensor
from vsedvr.evaluation.evaluate import evaluate, mean_score
from vsedvr.evaluation.metrics import Scoring
from vsedvr.evaluation.restore import Restore, Restorer, baseline
from vsedvr.train.degradation import Compression, Degradation, MotionBlur, Noise, degrade
from vsedvr.weights import EMBEDDED

CPU = torch.device("cpu")
Y = Scoring(y_channel=True)
PARK_JOY = "other/park_joy_480x270_420p_50fps.y4m"
TABLE = Path(__file__).with_suffix(".md")
VALID_TABLE = TABLE.with_stem("models_valid")

CRF = {"compression_light": (20, 24, 28), "compression": (28, 32, 36)}
DEBLUR = ("deblur", "deblur_long")
WHOLE, HALF = "motion blur, a whole frame interval", "motion blur, half a frame interval"
BLURS = {WHOLE: MotionBlur((1, 1)), HALF: MotionBlur((0.5, 0.5))}


@dataclass(frozen=True)
class Test:
    model: str
    what: str
    gt: str = "."
    """Clips below --eval or --valid."""
    lq: str = ""
    """The same in low quality; without it the degradation makes it, or bicubic reduction."""
    degradation: Degradation | None = None


H264 = tuple(Test(model, f"H.264, crf {crf}", degradation=Compression(crf=(crf, crf))) for model in CRF for crf in CRF[model])
EVAL = (
    Test("small", "bicubic x4", "vid4/GT", lq="vid4/BIx4"),
    *(dataclasses.replace(test, gt="vid4/GT") for test in H264),
    Test("denoise", "noise, sigma 25", "vid4/GT", degradation=Noise(sigma=(25, 25))),
    *(Test(model, WHOLE, "deblur/GT", lq="deblur/blur") for model in DEBLUR),
    *(Test(model, HALF, "deblur/GT", degradation=BLURS[HALF]) for model in DEBLUR),
    *(Test(model, what, PARK_JOY, degradation=blur) for what, blur in BLURS.items() for model in DEBLUR),
)
VALID = (
    Test("small", "bicubic x4"),
    *H264,
    Test("denoise", "noise, sigma 25", degradation=Noise(sigma=(25, 25))),
    *(Test(model, what, degradation=blur) for what, blur in BLURS.items() for model in DEBLUR),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    clips = parser.add_mutually_exclusive_group(required=True)
    clips.add_argument("--eval", type=Path, help="folder of the clips for final figures")
    clips.add_argument("--valid", type=Path, help="folder of clips to choose by")
    parser.add_argument("--output", type=Path, required=True, help="folder for decoded and degraded clips")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=PATH", help="a file in place of an embedded model"
    )
    parser.add_argument("--only", action="append", choices=sorted({test.model for test in EVAL}), help="these models alone")
    parser.add_argument("--frames", type=int, help="only the first ones of each clip")
    parser.add_argument("--table", type=Path, help="where the table goes: benchmarks/quality/models.md or models_valid.md")
    args = parser.parse_args(argv)
    paths = {name: name for name in EMBEDDED} | dict(model.split("=", 1) for model in args.model)
    lines = []
    for test in VALID if args.valid else EVAL:
        if test.model not in (args.only or paths):
            continue
        restore = Restorer(load_model(paths[test.model]), CPU, torch.float32)
        scores = [Score.of(pair, restore) for pair in open_test(test, restore.model.config.scale, args)]
        for score in [*scores, Score.mean(scores)] if args.valid else scores:
            lines.append(row(test, score))
            print(lines[-1], flush=True)
    write_whole(args.table or (VALID_TABLE if args.valid else TABLE), table(lines, args))


def open_test(test: Test, scale: int, args: argparse.Namespace) -> list[ClipPair]:
    root = args.valid or args.eval
    found = find_pairs(root / test.gt, root / test.lq if test.lq else None)
    cache = args.output / "cache"
    if test.degradation is None:
        return [open_pair(clip, paths, cache, scale, args.frames) for clip, paths in found.items()]
    pairs = []
    for clip, (gt, _) in found.items():
        sharp = open_pair(clip, (gt, None), cache, scale, args.frames)
        folder = args.output / f"{test.what}, {sharp.num_frames}" / clip
        if not folder.exists():
            make_low_quality(sharp, test.degradation, folder)
        pairs.append(open_pair(clip, (gt, folder), cache, scale, args.frames))
    return pairs


def make_low_quality(sharp: ClipPair, degradation: Degradation, folder: Path) -> None:
    clip = torch.stack([to_tensor(sharp.gt_frame(n)) for n in range(sharp.num_frames)])
    folder.mkdir(parents=True)
    for n, frame in enumerate(degrade(clip, [degradation], np.random.default_rng(0))):
        Image.fromarray(to_frame(frame)).save(folder / f"{n:08}.png", compress_level=1)


@dataclass(frozen=True)
class Score:
    clip: str
    before: float
    after: float

    @classmethod
    def of(cls, pair: ClipPair, restore: Restore) -> "Score":
        before, after = (mean_score(evaluate(method, [pair], Y)[pair.name].values()).psnr for method in (baseline, restore))
        return cls(pair.name, before, after)

    @classmethod
    def mean(cls, scores: Sequence["Score"]) -> "Score":
        before, after = np.mean([(score.before, score.after) for score in scores], 0).tolist()
        return cls("mean", before, after)


def row(test: Test, score: Score) -> str:
    figures = f"{score.before:.2f} | {score.after:.2f} | {score.after - score.before:+.2f}"
    return f"| {test.model} | {test.what} | {score.clip} | {figures} |"


def table(lines: Sequence[str], args: argparse.Namespace) -> str:
    part = f"the first {args.frames} frames of each clip" if args.frames else "whole clips"
    option, clips = ("--valid", "clips that weights are chosen by") if args.valid else ("--eval", "clips for final figures")
    return f"""# What the embedded models reach
PSNR of luma in dB on {clips}, {part}, fp32. By `python -m benchmarks.quality.models` (with {option} and
--output). Before: bicubic enlargement for x4, else the input.

| model | input | clip | before | restored | gain |
|---|---|---|---|---|---|
{"".join(f"{line}{chr(10)}" for line in lines)}"""


if __name__ == "__main__":
    main()
