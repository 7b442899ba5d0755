"""vsedvr eval: measures models on benchmarks and on your own files.

Modules that measure are imported only when it runs, so that its help needs nothing but the package itself.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vsedvr import EDVR
from vsedvr.cli.options import (
    add_engine_arguments,
    add_ensemble_argument,
    add_model_argument,
    add_output_arguments,
    add_refine_argument,
    engine_settings,
    file_path,
    load_models,
    load_second_model,
    methods_text,
)
from vsedvr.cli.progress import Progress, show_log
from vsedvr.data.find import PairPaths, find_pairs
from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.evaluation.published import PUBLISHED, Published
from vsedvr.evaluation.scoring import Scoring
from vsedvr.infer import check_tile
from vsedvr.timeline import PADDINGS

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "vsedvr eval DATASET ROOT [options]\n       vsedvr eval --gt VIDEO_OR_FOLDER [--lq VIDEO_OR_FOLDER] [options]"
    )
    parser.add_argument("dataset", nargs="?", help=", ".join(BENCHMARKS))
    parser.add_argument("root", nargs="?", type=file_path, help="folder of the data set, as it is distributed")
    parser.add_argument("--gt", type=file_path, help="instead of a data set: a video, a folder of frames, or a folder of such")
    parser.add_argument("--lq", type=file_path, help="the same in low quality; without it --gt is reduced four times")
    add_model_argument(parser, repeatable=True)
    add_refine_argument(parser)
    add_ensemble_argument(parser)
    add_engine_arguments(parser)
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of each clip")
    parser.add_argument("--tile", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="tiles of the input; 0 0 for none")
    parser.add_argument("--padding", choices=PADDINGS, help="what stands in for frames beyond the ends of a clip")
    parser.add_argument("--channel", choices=("y", "rgb"), help="measure luma or the three colours")
    parser.add_argument("--border", type=int, metavar="PIXELS", help="pixels at each side that do not count")
    parser.add_argument("--leave-out", type=int, nargs=2, metavar=("FIRST", "LAST"), help="frames that do not count")
    parser.add_argument(
        "--temporal",
        action="store_true",
        help="measure as well how steady the result is, by optical flow; takes time",
    )
    add_output_arguments(parser, "evaluation")
    parser.add_argument("--save", type=file_path, metavar="FOLDER", help="keep all restored frames, in FOLDER/<model>/<clip>")


def run(args: argparse.Namespace) -> None:
    """Prints a table; writes results.json, results.csv, psnr.png and details/<clip>.png to the output folder.

    Raises:
        ValueError, OSError: if arguments, files and models do not go together.
        KeyboardInterrupt: after Ctrl+C; the message says where the results so far are.
    """
    from vsedvr.evaluation.complexity import measure_stages
    from vsedvr.evaluation.evaluate import check_not_saved, open_pairs
    from vsedvr.evaluation.pair_restorer import PairRestorer, baseline, baseline_name
    from vsedvr.evaluation.report import Report
    from vsedvr.evaluation.results import Results

    show_log()
    _check_numbers(args)
    task = _find_task(args)
    models = load_models(args.model or ["small"])
    refine = load_second_model(args.refine, models)
    device, dtype = engine_settings(args)
    scale = _common_scale(models, task)
    _check_scale(args, scale)
    with Progress(len(task.paths), "clips looked through", args.quiet) as progress:
        pairs = open_pairs(task.paths, task.scoring, scale, args.frames, progress.step)
    saves = {name: args.save and args.save / name for name in models}
    for save in filter(None, saves.values()):
        check_not_saved(save, pairs)
    height, width = pairs[0].lq_size
    precision = str(dtype).removeprefix("torch.")
    title = task.title + methods_text(args.refine, args.ensemble)
    report = Report(title, task.scoring, task.source, (width, height), [], task.published, task.all_clips, precision)
    results = Results(args.output, report)
    frames = sum(pair.num_frames if args.save else len(task.scoring.counted(pair.num_frames)) for pair in pairs)
    try:
        with Progress(frames * len(models), "frames restored", args.quiet) as progress:
            results.measure(baseline_name(scale), baseline, pairs)
            for name, model in models.items():
                padding, tile = args.padding or task.padding, args.tile and tuple(args.tile)
                restore = PairRestorer(model, device, dtype, padding, tile, refine, args.ensemble)
                stages = [model] if refine is None else [model, refine]
                complexity = measure_stages(stages, height, width, args.ensemble)
                results.measure(name, restore, pairs, complexity, saves[name], progress.step)
        results.write()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the results so far lie in {args.output}" if results.write() else "") from None
    except BaseException:
        results.write()
        raise
    print(report.table(), end="")
    print(f"{args.output}: results.json, results.csv, psnr.png, details", file=sys.stderr)


class _Task(NamedTuple):
    """The clips to evaluate, and how they are scored."""

    title: str
    paths: PairPaths
    scoring: Scoring
    source: str = ""
    padding: str | None = None
    published: Sequence[Published] = ()
    all_clips: tuple[str, ...] = ()


def _find_task(args: argparse.Namespace) -> _Task:
    part = f", the first {args.frames} frames" if args.frames else ""
    own_files = "for files of your own: vsedvr eval --gt {} [--lq the same in low quality]"
    if args.dataset is None:
        if args.gt is None:
            raise ValueError(
                f"give a data set ({', '.join(BENCHMARKS)}) with its folder; {own_files.format('VIDEO_OR_FOLDER')}"
            )
        scoring = _scoring(args, Scoring(y_channel=True, temporal=args.temporal))
        return _Task(f"{args.gt.name}{part}", find_pairs(args.gt, args.lq), scoring)
    if args.dataset not in BENCHMARKS:
        raise ValueError(
            f"there is no data set {args.dataset!r}; there are {', '.join(BENCHMARKS)}; {own_files.format(args.dataset)}"
        )
    if args.root is None or args.gt is not None:
        raise ValueError(f"a data set is given with its folder, and without --gt: vsedvr eval {args.dataset} FOLDER")
    benchmark = BENCHMARKS[args.dataset]
    paths = benchmark.find(args.root, args.lq)
    usual = dataclasses.replace(benchmark.scoring, temporal=args.temporal)
    scoring = _scoring(args, usual)
    all_clips = benchmark.names(args.root)
    other_padding = args.padding not in (None, benchmark.padding)
    if scoring != usual or other_padding or args.lq or args.frames:  # published scores would not compare
        return _Task(f"{args.dataset}{part}", paths, scoring, padding=benchmark.padding, all_clips=all_clips)
    published = PUBLISHED.get(args.dataset, ())
    return _Task(args.dataset, paths, scoring, benchmark.source, benchmark.padding, published, all_clips)


def _scoring(args: argparse.Namespace, default: Scoring) -> Scoring:
    y_channel = default.y_channel if args.channel is None else args.channel == "y"
    border = default.border if args.border is None else args.border
    first, last = args.leave_out or default.left_out
    return dataclasses.replace(default, y_channel=y_channel, border=border, left_out=(first, last))


def _check_numbers(args: argparse.Namespace) -> None:
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames must be at least 1, got {args.frames}")
    for option, numbers in {"--border": [args.border or 0], "--leave-out": args.leave_out or []}.items():
        if any(number < 0 for number in numbers):
            raise ValueError(f"{option} must not be negative, got {' '.join(map(str, numbers))}")
    check_tile(args.tile, None)


def _check_scale(args: argparse.Namespace, scale: int) -> None:
    """Checks that a data set's own low quality is for models of this scale.

    Raises:
        ValueError: if it is not.
    """
    if args.dataset is None or args.lq is not None or BENCHMARKS[args.dataset].scale == scale:
        return
    benchmark = BENCHMARKS[args.dataset]
    raise ValueError(
        f"{args.dataset} is for models that enlarge {benchmark.scale} times, not {scale} times; "
        f"--gt {args.root / benchmark.gt} measures other models on its clips"
    )


def _common_scale(models: Mapping[str, EDVR], task: _Task) -> int:
    scales = {name: model.config.scale for name, model in models.items()}
    first, scale = next(iter(scales.items()))
    other = next((name for name in scales if scales[name] != scale), None)
    if other:
        raise ValueError(f"models of one scale compare: {first} enlarges {scale} times, {other} {scales[other]} times")
    if scale == 1 and any(lq is None for _, lq in task.paths.values()):
        raise ValueError(f"{first} restores input of the output's size, which cannot be made; give it with --lq")
    return scale
