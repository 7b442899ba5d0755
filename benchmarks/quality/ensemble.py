"""What self-ensemble gains with the embedded models.

    OMP_NUM_THREADS=1 python -m benchmarks.quality.ensemble --eval data/eval --output runs/ensemble

The clips below --eval are those of benchmarks.quality.models. Of each clip the first frames are read (--frames), of which all
but two at either end count, so that no window reaches beyond the clip. Figures are PSNR of luma in dB, the mean over frames;
behind those of an ensemble stands the gain over the picture alone. The table goes to ensemble.md beside this script.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.quality.models import CPU, SIGMA25, WHOLE, Row, Test, open_test
from vsedvr import load_model
from vsedvr.atomic import write_whole
from vsedvr.evaluation.evaluate import evaluate
from vsedvr.evaluation.pair_restorer import PairRestorer, Restore, baseline
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Scoring
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import ENSEMBLES
from vsedvr.train.coding import Compression

LEFT_OUT = 2
"""Frames that do not count at either end of a clip."""
SCORING = Scoring(y_channel=True, left_out=(LEFT_OUT, LEFT_OUT))
HEAD = ("model", "input", "clip", "before", *(f"mean of {n}" if n > 1 else "alone" for n in ENSEMBLES))
TABLE = Path(__file__).with_suffix(".md")
TESTS = (
    Test("small", "bicubic x4", "vid4/GT", lq="vid4/BIx4"),
    Test("compression_light", "H.264, crf 24", "vid4/GT", degradation=(Compression(crf=(24, 24)),)),
    Test("denoise", "noise, sigma 25", "vid4/GT", degradation=(SIGMA25,)),
    Test("deblur", WHOLE, "deblur/GT", lq="deblur/blur"),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--output", type=Path, required=True, help="folder for decoded and degraded clips")
    parser.add_argument("--frames", type=int, default=6, help="frames that are read of each clip; 6 by default")
    parser.add_argument("--only", action="append", choices=[test.model for test in TESTS], help="these models alone")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args(argv)
    args.valid = None  # for open_test
    rows: list[Row] = []
    for test in TESTS:
        if test.model in (args.only or [test.model]):
            measured = measure(test, args)
            print("\n".join(map(markdown_row, measured)), flush=True)
            rows += measured
    write_whole(args.table, page(rows, args.frames))


def measure(test: Test, args: argparse.Namespace) -> list[Row]:
    """Rows of the table for one test, one for each clip."""
    model = load_model(test.model)
    pairs = open_test(test, model.config.scale, args)
    ensembles = [PairRestorer(model, CPU, torch.float32, ensemble=n) for n in ENSEMBLES]
    restores: list[Restore] = [baseline, *ensembles]
    methods = [Method(test.model, evaluate(restore, pairs, SCORING)).clip_means for restore in restores]
    rows = []
    for clip in methods[0]:
        before, alone, *others = (means[clip].psnr for means in methods)
        gains = [f"{psnr:.2f} ({psnr - alone:+.3f})" for psnr in others]
        rows.append([test.model, test.what, clip, f"{before:.2f}", f"{alone:.2f}", *gains])
    return rows


def page(rows: Sequence[Row], frames: int) -> str:
    """The file that the table stands in: what was measured, and how to measure it again."""
    return f"""# What self-ensemble gains
PSNR of luma in dB on clips for final figures, frames {LEFT_OUT} to {frames - LEFT_OUT - 1} of each, fp32: of the picture
alone, of the mean over its four flips (itself included), and of the mean over these and their transposes; the gain over the
picture alone follows in brackets.
By `OMP_NUM_THREADS=1 python -m benchmarks.quality.ensemble` (with --eval and --output). Before: bicubic enlargement for x4,
else the input.

{markdown_table([HEAD, *rows])}
"""


if __name__ == "__main__":
    main()
