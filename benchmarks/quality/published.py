"""Holds the published figures of EDVR against our own: every published model and every data set that is on this computer.

    python -m benchmarks.quality.published --data DATASETS

DATASETS has the folders vid4, reds and vimeo90k, or some of them, each as it is distributed (docs/evaluation.md); the models
are those in the models folder (`vsedvr models get --all`). Each row has PSNR and SSIM by the protocol of the publication: all
frames and the whole picture count, 8-bit output, fp32, the padding that the model was tested with. What is missing is printed
below the rows.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vsedvr import load_model
from vsedvr.cli.options import parse_device
from vsedvr.cli.progress import Progress
from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.evaluation.evaluate import evaluate_clip, open_pairs
from vsedvr.evaluation.pair_restorer import PairRestorer
from vsedvr.evaluation.report import Method
from vsedvr.evaluation.scoring import Score
from vsedvr.evaluation.table import markdown_table
from vsedvr.infer import choose_device
from vsedvr.weights import ZOO
from vsedvr.weights.verify import file_problem
from vsedvr.weights.zoo import Entry, Figure

HEAD = ("model", "data set", "channel", "published", "ours", "difference", "clips", "source")
FOLDERS = {"vid4": "vid4", "vimeo90k-t": "vimeo90k"}
"""Folder of a data set below --data; that of all others is reds."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DATASETS", help="folder of the data sets")
    parser.add_argument("--model", action="append", metavar="NAME", choices=ZOO, help="these models alone")
    parser.add_argument("--device", type=parse_device, help="cpu, cuda or cuda:N; by default the first GPU where there is one")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    args = parser.parse_args(argv)
    asked: torch.device | None = args.device
    device = choose_device(None if asked is None else -1 if asked.type == "cpu" else asked.index or 0)
    rows, missing = [], []
    for entry in ZOO.values():
        if not entry.figures or (args.model and entry.name not in args.model):
            continue
        problem = model_problem(entry)
        if problem:
            missing.append(problem)
            continue
        for figure in entry.figures:
            try:
                rows.append(row(entry, figure, *measure(entry, figure, args.data, device, args.quiet)))
            except (OSError, ValueError) as error:
                missing.append(f"{figure.benchmark} for {entry.name}: {error}")
    print(markdown_table([HEAD, *rows]))
    print("".join(f"\nmissing: {text}" for text in dict.fromkeys(missing)))


def model_problem(entry: Entry) -> str:
    """Why the published figures of a model cannot be held against ours here, or an empty string."""
    path = entry.path()
    if path is None:
        return f"{entry.name} is not on this computer; vsedvr models get {entry.name}"
    problem = file_problem(path, entry)
    return f"{entry.name}: {path} {problem}" if problem else ""


def measure(entry: Entry, figure: Figure, data: Path, device: torch.device, quiet: bool) -> tuple[Score, int, int]:
    """Restores all clips of a benchmark that are there, as the publisher of a figure did.

    Returns:
        The mean score over these clips, how many they are, and how many the benchmark has.

    Raises:
        OSError, ValueError: if the benchmark is not there or cannot be used.
    """
    benchmark = BENCHMARKS[figure.benchmark]
    root = data / FOLDERS.get(figure.benchmark, "reds")
    scoring = replace(benchmark.scoring, y_channel=figure.channel == "y")
    pairs = open_pairs(benchmark.find(root), scoring, entry.network.scale)
    restore = PairRestorer(load_model(entry.name), device, torch.float32, entry.padding)
    with Progress(sum(len(scoring.counted(pair.num_frames)) for pair in pairs), "frames restored", quiet) as progress:
        scores = {
            pair.name: evaluate_clip(
                restore, pair, scoring, on_frame=lambda pair, n, frame: progress.step(f"{entry.name}, {pair.name}")
            )
            for pair in pairs
        }
    return Method(entry.name, scores).mean, len(pairs), len(benchmark.names(root))


def row(entry: Entry, figure: Figure, ours: Score, clips: int, all_clips: int) -> list[str]:
    """One row of the table. Of a part of the clips there is no difference: the figure is that of all."""
    difference = f"{ours.psnr - figure.psnr:+.2f}/{ours.ssim - figure.ssim:+.4f}" if clips == all_clips else "-"
    published = f"{figure.psnr:.2f}/{figure.ssim:.4f}"
    measured = f"{ours.psnr:.2f}/{ours.ssim:.4f}"
    name = figure.channel.upper()
    return [entry.name, figure.benchmark, name, published, measured, difference, f"{clips} of {all_clips}", figure.source]


if __name__ == "__main__":
    main()
