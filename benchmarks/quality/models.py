"""Measures what the embedded models reach: the figures that users read, and those by which weights are chosen.

    python -m benchmarks.quality.models --eval data/eval --output runs/models
    python -m benchmarks.quality.models --valid data/train/valid --frames 3 --output runs/valid

The folder of --eval contains vid4/ (GT and BIx4 with calendar and walk, as distributed), deblur/ (GT and blur with
car-roundabout) and other/park_joy_480x270_420p_50fps.y4m; that of --valid any clips. No model is trained on any of these. Clips
are restored by the engine that the filter uses. Figures are PSNR of luma in dB, the mean over frames. With --eval they are
written to models.md beside this script, with --valid to models_valid.md, which has the mean over all clips as well. --temporal
adds temporal consistency, which takes half a second more for each frame of a row.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.quality.sources import CASES
from vsedvr import load_model
from vsedvr.atomic import whole_folder, write_whole
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair, to_frame, to_tensor
from vsedvr.evaluation.evaluate import evaluate
from vsedvr.evaluation.pair_restorer import PairRestorer, baseline
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Score, Scoring
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.model import EDVR
from vsedvr.train.blur import MotionBlur
from vsedvr.train.coding import Compression
from vsedvr.train.degradation import Degradation, degrade
from vsedvr.train.noise import Noise
from vsedvr.weights import EMBEDDED

CPU = torch.device("cpu")
Y = Scoring(y_channel=True)
HEAD = ("model", "input", "clip", "before", "restored", "gain")
TEMPORAL_HEAD = ("tOF before", "tOF restored", "warped before", "warped restored", "warped truth")
Row = list[str]
PARK_JOY = "other/park_joy_480x270_420p_50fps.y4m"
TABLE = Path(__file__).with_suffix(".md")
VALID_TABLE = TABLE.with_stem("models_valid")

CRF = {"compression_light": (20, 24, 28), "compression": (28, 32, 36)}
DEBLUR = ("deblur", "deblur_long")
SIGMA25 = Noise(sigma=(25, 25))
WHOLE, HALF = "motion blur, a whole frame interval", "motion blur, half a frame interval"
BLURS = {WHOLE: MotionBlur((1, 1)), HALF: MotionBlur((0.5, 0.5))}


@dataclass(frozen=True)
class Test:
    """One model on one kind of input."""

    model: str
    what: str
    """Kind of input, as the table names it."""
    gt: str = "."
    """Folder of the clips in full quality, below --eval or --valid."""
    lq: str = ""
    """Folder of the same clips in low quality; "" makes them by the degradation, or else by bicubic reduction."""
    degradation: tuple[Degradation, ...] = ()


H264 = tuple(
    Test(model, f"H.264, crf {crf}", degradation=(Compression(crf=(crf, crf)),)) for model in CRF for crf in CRF[model]
)
REAL = tuple(Test("real", case, degradation=steps) for case, steps in CASES.items())
EVAL = (
    Test("small", "bicubic x4", "vid4/GT", lq="vid4/BIx4"),
    Test("x2", "bicubic x2", "vid4/GT"),
    *(dataclasses.replace(test, gt="vid4/GT") for test in (*REAL, *H264)),
    Test("denoise", "noise, sigma 25", "vid4/GT", degradation=(SIGMA25,)),
    *(Test(model, WHOLE, "deblur/GT", lq="deblur/blur") for model in DEBLUR),
    *(Test(model, HALF, "deblur/GT", degradation=(BLURS[HALF],)) for model in DEBLUR),
    *(Test(model, what, PARK_JOY, degradation=(blur,)) for what, blur in BLURS.items() for model in DEBLUR),
)
VALID = (
    Test("small", "bicubic x4"),
    Test("x2", "bicubic x2"),
    *REAL,
    *H264,
    Test("denoise", "noise, sigma 25", degradation=(SIGMA25,)),
    *(Test(model, what, degradation=(blur,)) for what, blur in BLURS.items() for model in DEBLUR),
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
    parser.add_argument("--temporal", action="store_true", help="measure temporal consistency as well")
    parser.add_argument("--table", type=Path, help="where the table goes; without it beside this script")
    args = parser.parse_args(argv)
    paths = {name: name for name in EMBEDDED} | dict(model.split("=", 1) for model in args.model)
    rows: list[Row] = []
    for test in VALID if args.valid else EVAL:
        if test.model not in (args.only or paths):
            continue
        model = load_model(paths[test.model])
        scoring = dataclasses.replace(Y, temporal=args.temporal)
        measured = measure(test, open_test(test, model.config.scale, args), model, scoring, with_mean=bool(args.valid))
        print("\n".join(map(markdown_row, measured)), flush=True)
        rows += measured
    write_whole(args.table or (VALID_TABLE if args.valid else TABLE), page(rows, args))


def open_test(test: Test, scale: int, args: argparse.Namespace) -> list[ClipPair]:
    """Opens the clips of a test. If the test has a degradation and its low-quality clips are missing, they are made first."""
    root = args.valid or args.eval
    found = find_pairs(root / test.gt, root / test.lq if test.lq else None)
    cache = args.output / "cache"
    if not test.degradation:
        return [open_pair(clip, paths, cache, scale, args.frames) for clip, paths in found.items()]
    pairs = []
    for clip, (gt, _) in found.items():
        sharp = open_pair(clip, (gt, None), cache, scale, args.frames)
        folder = args.output / f"{test.what}, x{scale}, {sharp.num_frames}" / clip
        if not folder.exists():
            with whole_folder(folder) as temporary:
                save_degraded(sharp, test.degradation, temporary)
        pairs.append(open_pair(clip, (gt, folder), cache, scale, args.frames))
    return pairs


def save_degraded(sharp: ClipPair, degradation: Sequence[Degradation], folder: Path) -> None:
    """Degrades a clip and saves its frames as pictures, so that they are the same for every model."""
    clip = torch.stack([to_tensor(sharp.gt_frame(n)) for n in range(sharp.num_frames)])
    for n, frame in enumerate(degrade(clip, degradation, np.random.default_rng(0))):
        Image.fromarray(to_frame(frame)).save(folder / f"{n:08}.png", compress_level=1)


def measure(test: Test, pairs: Sequence[ClipPair], model: EDVR, scoring: Scoring, with_mean: bool) -> list[Row]:
    """Returns the table's rows for a test: one for each clip and, with `with_mean`, one for their mean."""
    restores = (baseline, PairRestorer(model, CPU, torch.float32))
    before, restored = (Method(test.model, evaluate(restore, pairs, scoring)) for restore in restores)
    scores = {clip: (before.clip_means[clip], restored.clip_means[clip]) for clip in before.scores}
    if with_mean:
        scores["mean"] = before.mean, restored.mean
    return [
        [test.model, test.what, clip, *_psnr_cells(*both), *(_temporal_cells(*both) if scoring.temporal else [])]
        for clip, both in scores.items()
    ]


def _psnr_cells(before: Score, restored: Score) -> list[str]:
    return [f"{before.psnr:.2f}", f"{restored.psnr:.2f}", f"{restored.psnr - before.psnr:+.2f}"]


def _temporal_cells(before: Score, restored: Score) -> list[str]:
    """Returns the cells for tOF and warped difference, the latter times 1000; "-" for a clip of a single frame."""
    a, b = before.temporal, restored.temporal
    if a is None or b is None:
        return ["-"] * len(TEMPORAL_HEAD)
    warped = (a.warped_difference, b.warped_difference, b.gt_warped_difference)
    return [f"{a.tof:.3f}", f"{b.tof:.3f}", *(f"{1000 * value:.3f}" for value in warped)]


def page(rows: Sequence[Row], args: argparse.Namespace) -> str:
    """Returns the Markdown page with the table: what was measured, and how to measure it again."""
    part = f"the first {args.frames} frames of each clip" if args.frames else "whole clips"
    option, clips = ("--valid", "clips that weights are chosen by") if args.valid else ("--eval", "clips for final figures")
    head, temporal = [*HEAD], ""
    if args.temporal:
        head += TEMPORAL_HEAD
        temporal = """
Temporal consistency: tOF in pixels, and the warped difference times 1000, both as docs/evaluation.md defines them. Lower is
better, but a warped difference below the truth's is that of a smoother picture.
"""
    return f"""# What the embedded models reach
PSNR of luma in dB on {clips}, {part}, fp32. By `python -m benchmarks.quality.models`
(with {option} and --output). Before: bicubic enlargement for x4 and x2, else the input; real's sources are
those of real.md.
{temporal}
{markdown_table([head, *rows])}
"""


if __name__ == "__main__":
    main()
