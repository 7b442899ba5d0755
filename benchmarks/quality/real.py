"""Measures x2 models on sources like those that people have: blurred, with grain, and compressed.

    python -m benchmarks.quality.real --eval data/eval --output runs/real

The folder of --eval is that of benchmarks.quality.models. Vid4's calendar and walk, car-roundabout and park_joy are blurred a
little, reduced to half of the size, get grain, and are compressed by MPEG-2 or H.264; clean ones are only reduced. Each is
enlarged by bicubic interpolation, by x2, by compression followed by x2, and by real. Figures are PSNR of luma in dB, the mean
over frames: of bicubic, and what the others gain over it. They are written to real.md beside this script. --temporal adds
temporal consistency, which takes about a second and a half more for each frame of a row.

The sources (benchmarks/quality/sources.py) were fixed before `real` was trained.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.quality.models import PARK_JOY, save_degraded
from benchmarks.quality.sources import CASES, SCALE
from vsedvr import load_model
from vsedvr.atomic import whole_folder, write_whole
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.evaluation.evaluate import evaluate
from vsedvr.evaluation.pair_restorer import PairRestorer, Restore, baseline
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Score, Scoring, Temporal
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.model import EDVR

CPU = torch.device("cpu")
Y = Scoring(y_channel=True)
CLIPS = ("vid4/GT/calendar", "vid4/GT/walk", "deblur/GT/car-roundabout", PARK_JOY)
MODELS = ("x2", "compression", "real")
WAYS = ("x2", "compression, x2", "real")
"""What enlarges the clips, beside bicubic interpolation."""
TABLE = Path(__file__).with_suffix(".md")


class Measured(NamedTuple):
    """Scores of one clip from one source."""

    case: str
    clip: str
    scores: list[Score]
    """Scores of bicubic interpolation, then of each of WAYS."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the rows and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="folder of the clips for final figures")
    parser.add_argument("--output", type=Path, required=True, help="folder for degraded and restored clips")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=PATH", help=f"a file in place of {', '.join(MODELS)}"
    )
    parser.add_argument("--frames", type=int, help="only the first ones of each clip")
    parser.add_argument("--temporal", action="store_true", help="measure temporal consistency as well")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args(argv)
    paths = {name: name for name in MODELS} | dict(model.split("=", 1) for model in args.model)
    models = {name: load_model(path) for name, path in paths.items()}
    measured: list[Measured] = []
    for case in CASES:
        for clip in CLIPS:
            sharp = _open(args.eval / clip, None, args)
            lq = _kept(args.output / _part(args) / case / sharp.name, sharp, case)
            measured.append(Measured(case, Path(sharp.name).stem, list(scores(sharp, lq, models, args))))
            print(markdown_row(_gains(*measured[-1])), flush=True)
    write_whole(args.table, page(measured, args))


def scores(sharp: ClipPair, lq: Path, models: dict[str, EDVR], args: argparse.Namespace) -> Iterator[Score]:
    """Yields the score of bicubic enlargement and of each of WAYS, in this order.

    Args:
        sharp: the clip in full quality.
        lq: folder of the degraded clip.
        models: the networks of MODELS.
        args: arguments of the command.
    """
    cleaned = lq.with_name(f"{lq.name}, compression")
    if not cleaned.exists():
        _save(PairRestorer(models["compression"], CPU, torch.float32), _open(lq, lq, args, scale=1), cleaned)
    enlarge = {name: PairRestorer(models[name], CPU, torch.float32) for name in ("x2", "real")}
    ways: tuple[tuple[Restore, Path], ...] = (
        (baseline, lq),
        (enlarge["x2"], lq),
        (enlarge["x2"], cleaned),
        (enlarge["real"], lq),
    )
    gt = args.eval / next(clip for clip in CLIPS if Path(clip).stem == Path(sharp.name).stem)
    scoring = dataclasses.replace(Y, temporal=args.temporal)
    for restore, folder in ways:
        yield Method("", evaluate(restore, [_open(gt, folder, args)], scoring)).mean


def _open(gt: Path, lq: Path | None, args: argparse.Namespace, scale: int = SCALE) -> ClipPair:
    """Opens a clip and its low quality, which is reduced from it if `lq` is None."""
    ((name, (path, _)),) = find_pairs(gt, None).items()
    return open_pair(name, (path, lq), args.output / "cache", scale, args.frames)


def _kept(folder: Path, sharp: ClipPair, case: str) -> Path:
    """Degrades a clip and keeps its frames as pictures, so that they are the same for every model; returns the folder."""
    if not folder.exists():
        with whole_folder(folder) as temporary:
            save_degraded(sharp, CASES[case], temporary)
    return folder


def _save(restore: Restore, pair: ClipPair, folder: Path) -> None:
    with whole_folder(folder) as temporary:
        for n in range(pair.num_frames):
            Image.fromarray(restore(pair, n)).save(temporary / f"{n:08}.png", compress_level=1)


def _part(args: argparse.Namespace) -> str:
    return f"{args.frames} frames" if args.frames else "whole"


def page(measured: Sequence[Measured], args: argparse.Namespace) -> str:
    """Returns the Markdown page with the tables: what was measured, and how to measure it again."""
    part = f"the first {args.frames} frames of each clip" if args.frames else "whole clips"
    head = ["source", "clip", "bicubic", *WAYS]
    psnr = markdown_table([head, *(_gains(*each) for each in [*measured, *_means(measured)])])
    return f"""# Twice the size, of sources like those that people have
PSNR of luma in dB of bicubic enlargement, and what models gain over it, {part}, fp32. By
`python -m benchmarks.quality.real` (with --eval and --output); benchmarks/quality/sources.py says how the sources were made.

{psnr}
{_temporal_part(measured, head) if args.temporal else ""}"""


def _means(measured: Sequence[Measured]) -> Iterator[Measured]:
    """Yields the means over the clean sources and over the degraded ones, with PSNR and SSIM only."""
    for kind in ("clean", "degraded"):
        of_kind = [each.scores for each in measured if (each.case == "clean") == (kind == "clean")]
        yield Measured(
            f"mean, {kind}", "", [Score(*np.mean([score[:2] for score in way], 0)) for way in zip(*of_kind, strict=True)]
        )


def _gains(case: str, clip: str, scores: Sequence[Score]) -> list[str]:
    before, *restored = (score.psnr for score in scores)
    return [case, clip, f"{before:.2f}", *(f"{after - before:+.2f}" for after in restored)]


def _temporal_part(measured: Sequence[Measured], head: Sequence[str]) -> str:
    def table(cell: Callable[[Temporal], float]) -> list[list[str]]:
        cells = ([f"{cell(score.temporal):.3f}" if score.temporal else "-" for score in each.scores] for each in measured)
        return [[each.case, each.clip, *values] for each, values in zip(measured, cells, strict=True)]

    truth = [f"{1000 * t.gt_warped_difference:.3f}" if (t := each.scores[0].temporal) else "-" for each in measured]
    warped = [[*row, value] for row, value in zip(table(lambda t: 1000 * t.warped_difference), truth, strict=True)]
    return f"""
tOF in pixels, as docs/evaluation.md defines it; lower is better.

{markdown_table([head, *table(lambda t: t.tof)])}

The warped difference times 1000, as docs/evaluation.md defines it. Lower is steadier, but below the truth's it is that of a
smoother picture.

{markdown_table([[*head, "truth"], *warped])}
"""


if __name__ == "__main__":
    main()
