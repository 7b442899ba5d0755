"""What the benchmarks that train networks share: options, test clips, and the PSNR of luma on them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.evaluation.evaluate import evaluate
from vsedvr.evaluation.pair_restorer import Restore
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Scoring

__all__ = ["mean_psnr", "open_test", "training_options"]


def training_options(description: str | None, table: Path, frames: int) -> argparse.ArgumentParser:
    """Returns a parser of the options that all of them have.

    Args:
        description: what --help says first.
        table: default of --table.
        frames: default of --frames.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with clips/ and stills/")
    parser.add_argument("--test", action="append", required=True, metavar="NAME=FOLDER", help="clips to measure on")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--iterations", type=int, default=600, help="of each training; %(default)s by default")
    parser.add_argument("--frames", type=int, default=frames, help="read of each test clip; %(default)s by default")
    parser.add_argument(
        "--set", action="append", default=[], help="changes of the preset's data and training, for all networks"
    )
    parser.add_argument("--table", type=Path, default=table, help=f"where the table goes; {table.name} beside this script")
    return parser


def open_test(test: str, cache: Path, frames: int) -> tuple[str, list[ClipPair]]:
    """Splits NAME=FOLDER into the name and the clips below the folder, whose low quality is their bicubic x4 reduction.

    Args:
        test: NAME=FOLDER, as on the command line.
        cache: folder for decoded videos.
        frames: number of frames of each clip, from the beginning.
    """
    name, _, folder = test.partition("=")
    found = find_pairs(Path(folder), None)
    return name, [open_pair(clip, paths, cache, 4, frames) for clip, paths in found.items()]


def mean_psnr(restore: Restore, pairs: Sequence[ClipPair], left_out: int = 0) -> float:
    """Returns the PSNR of luma in dB: the mean over the frames of each clip, and then over clips.

    Args:
        restore: a PairRestorer, or the baseline.
        pairs: clips to restore.
        left_out: number of frames that do not count at either end of a clip.
    """
    scoring = Scoring(y_channel=True, left_out=(left_out, left_out))
    return Method("", evaluate(restore, pairs, scoring)).mean.psnr
