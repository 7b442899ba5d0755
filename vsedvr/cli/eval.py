"""vsedvr eval: models on benchmarks and on files of one's own."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vsedvr import EDVR
from vsedvr.atomic import write_whole
from vsedvr.cli.options import add_engine_arguments, add_model_argument, engine_settings, load_models
from vsedvr.cli.progress import Progress
from vsedvr.compare.drawing import png
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import Pair, PairPaths, find_pairs, open_pair
from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.evaluation.complexity import measure_complexity
from vsedvr.evaluation.evaluate import Restorer, baseline, baseline_name, check_not_saved, evaluate
from vsedvr.evaluation.metrics import Protocol
from vsedvr.evaluation.pictures import Details, plot_psnr
from vsedvr.evaluation.published import PUBLISHED, Published
from vsedvr.evaluation.report import Method, Report
from vsedvr.infer import check_tile
from vsedvr.timeline import PADDINGS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", help=", ".join(BENCHMARKS))
    parser.add_argument("root", nargs="?", type=Path, help="folder of the data set, as it is distributed")
    parser.add_argument("--gt", type=Path, help="instead of a data set: a video, a folder of frames, or a folder of such")
    parser.add_argument("--lq", type=Path, help="the same in low quality; without it --gt is reduced four times")
    add_model_argument(parser, repeatable=True)
    add_engine_arguments(parser)
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of each clip")
    parser.add_argument("--tile", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="tiles of the input; 0 0 for none")
    parser.add_argument("--padding", choices=PADDINGS, help="what stands in for frames beyond the ends of a clip")
    parser.add_argument("--channel", choices=("y", "rgb"), help="measure luma or the three colours")
    parser.add_argument("--border", type=int, metavar="PIXELS", help="pixels at each side that do not count")
    parser.add_argument("--leave-out", type=int, nargs=2, metavar=("FIRST", "LAST"), help="frames that do not count")
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="folder of the results; evaluation by default")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep all restored frames, in FOLDER/<model>/<clip>")


def run(args: argparse.Namespace) -> None:
    """Prints a table; writes results.json, results.csv, psnr.png and details/<clip>.png to the output folder.

    Raises:
        ValueError, OSError: if arguments, files and models do not belong together.
    """
    _check_numbers(args)
    task = _find_task(args)
    models = load_models(args.model or ["small"])
    device, dtype = engine_settings(args)
    scale = _common_scale(models, task)
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".decoded-", dir=args.output) as cache:
        pairs = [open_pair(name, paths, Path(cache), scale, args.frames) for name, paths in task.paths.items()]
        saves = {name: args.save and args.save / name for name in models}
        for save in filter(None, saves.values()):
            check_not_saved(save, pairs)
        details = Details(pairs, task.protocol)
        frames = sum(pair.num_frames if args.save else len(task.protocol.counted(pair.num_frames)) for pair in pairs)
        progress = Progress(frames * len(models))
        height, width = pairs[0].lq_frame(0).shape[:2]
        name = baseline_name(scale)
        methods = [Method(name, evaluate(baseline, pairs, task.protocol, None, partial(details.add, name)))]
        for name, model in models.items():
            restore = Restorer(model, device, dtype, args.padding or task.padding, args.tile and tuple(args.tile))
            on_frame = partial(_on_frame, name, details, progress)
            scores = evaluate(restore, pairs, task.protocol, saves[name], on_frame)
            methods.append(Method(name, scores, measure_complexity(model, height, width)))
    report = Report(task.title, task.protocol, task.source, (width, height), methods, task.published, task.all_clips)
    _write(args.output, report, details)
    print(report.table(), end="")
    print(f"{args.output}: results.json, results.csv, psnr.png, details", file=sys.stderr)


def _on_frame(name: str, details: Details, progress: Progress, pair: Pair, n: int, restored: Frame) -> None:
    details.add(name, pair, n, restored)
    progress.step(f"{name}, {pair.name}")


def _write(folder: Path, report: Report, details: Details) -> None:
    write_whole(folder / "results.json", report.json())
    write_whole(folder / "results.csv", report.csv())
    write_whole(folder / "psnr.png", plot_psnr(report.methods))
    for clip, sheet in details.sheets().items():
        write_whole(folder / "details" / f"{clip.replace('/', '-')}.png", png(sheet))


class _Task(NamedTuple):
    """What is measured, and how."""

    title: str
    paths: PairPaths
    protocol: Protocol
    source: str = ""
    padding: str | None = None
    published: Sequence[Published] = ()
    all_clips: tuple[str, ...] = ()


def _find_task(args: argparse.Namespace) -> _Task:
    part = f", the first {args.frames} frames" if args.frames else ""
    if args.dataset is None:
        if args.gt is None:
            raise ValueError(f"give a data set ({', '.join(BENCHMARKS)}) with its folder, or --gt with files of your own")
        return _Task(f"{args.gt.name}{part}", find_pairs(args.gt, args.lq), _protocol(args, Protocol(y_channel=True)))
    if args.dataset not in BENCHMARKS:
        raise ValueError(f"there is no data set {args.dataset!r}; there are {', '.join(BENCHMARKS)}")
    if args.root is None or args.gt is not None:
        raise ValueError(f"a data set is given with its folder, and without --gt: vsedvr eval {args.dataset} FOLDER")
    benchmark = BENCHMARKS[args.dataset]
    paths = benchmark.find(args.root, args.lq)
    protocol = _protocol(args, benchmark.protocol)
    all_clips = benchmark.names(args.root)
    other_padding = args.padding not in (None, benchmark.padding)
    if protocol != benchmark.protocol or other_padding or args.lq or args.frames:  # nothing published compares
        return _Task(f"{args.dataset}{part}", paths, protocol, padding=benchmark.padding, all_clips=all_clips)
    published = PUBLISHED.get(args.dataset, ())
    return _Task(args.dataset, paths, protocol, benchmark.source, benchmark.padding, published, all_clips)


def _protocol(args: argparse.Namespace, default: Protocol) -> Protocol:
    y_channel = default.y_channel if args.channel is None else args.channel == "y"
    border = default.border if args.border is None else args.border
    first, last = args.leave_out or default.left_out
    return Protocol(y_channel, border, (first, last))


def _check_numbers(args: argparse.Namespace) -> None:
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    for option, numbers in {"--border": [args.border or 0], "--leave-out": args.leave_out or []}.items():
        if any(number < 0 for number in numbers):
            raise ValueError(f"{option} must not be negative, got {' '.join(map(str, numbers))}")
    check_tile(args.tile, None)


def _common_scale(models: Mapping[str, EDVR], task: _Task) -> int:
    scales = {name: model.config.scale for name, model in models.items()}
    first, scale = next(iter(scales.items()))
    other = next((name for name in scales if scales[name] != scale), None)
    if other:
        raise ValueError(f"models of one scale compare: {first} enlarges {scale} times, {other} {scales[other]} times")
    if scale == 1 and any(lq is None for _, lq in task.paths.values()):
        raise ValueError(f"{first} restores input of the output's size, which cannot be made; give it with --lq")
    return scale
