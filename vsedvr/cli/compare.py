"""vsedvr compare: puts versions of a clip side by side on one page.

Modules that compare are imported only when it runs, so that its help needs nothing but the package itself.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vsedvr.cli.options import (
    MODEL_HELP,
    add_engine_arguments,
    add_ensemble_argument,
    add_refine_argument,
    engine_settings,
    file_path,
    load_models,
    load_second_model,
    methods_text,
)
from vsedvr.cli.progress import Progress
from vsedvr.weights import ZOO

if TYPE_CHECKING:
    from vsedvr.compare.version import Version
    from vsedvr.data.clip import Clip

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "vsedvr compare BEFORE AFTER [--truth TRUTH] [-o PAGE]\n"
        "       vsedvr compare CLIP --model MODEL [--model MODEL] [-o PAGE]"
    )
    parser.epilog = (
        "Writes a page that shows versions of a clip with a slider between them: files that there are, or what models make of "
        "a few frames. The page is one file and needs no network."
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP", type=file_path, help="videos or folders of pictures")
    parser.add_argument("--truth", type=file_path, metavar="CLIP", help="the ground truth, for PSNR and SSIM")
    parser.add_argument(
        "-o",
        "--output",
        type=file_path,
        default=Path("compare.html"),
        metavar="PAGE",
        help="the page; compare.html by default. An old one is replaced",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help=f"restore frames of CLIP with this {MODEL_HELP}; may be given several times",
    )
    add_refine_argument(parser)
    add_ensemble_argument(parser)
    add_engine_arguments(parser)
    parser.add_argument("--frames", type=_at_least_one, default=8, metavar="N", help="show at most N frames; 8 by default")
    parser.add_argument(
        "--measure",
        type=_at_least_one,
        default=100,
        metavar="N",
        help="measure at most N frames, spread over the clip; 100 by default. With --model only frames that are shown are",
    )
    parser.add_argument(
        "--enlarge",
        choices=("bicubic", "nearest"),
        default="bicubic",
        help="how a smaller clip is enlarged; bicubic by default",
    )
    parser.add_argument(
        "--max-size",
        type=_at_least_one,
        default=200,
        metavar="MB",
        help="size of the page at most; 200 by default. Frames that have no room are left out",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> None:
    """Writes the page; prints to stderr what its readers must know.

    Raises:
        ValueError, OSError, MemoryError: if the clips cannot be compared, or the page cannot be written.
    """
    from vsedvr.compare.comparison import ComparisonSettings, compare, count_steps
    from vsedvr.compare.notes import notes_on
    from vsedvr.compare.page import write_page
    from vsedvr.compare.version import as_versions
    from vsedvr.data.clip import open_at_any_frame

    _check(args)
    paths = [*args.clips, *([args.truth] if args.truth else [])]
    clips = [open_at_any_frame(path) for path in paths]
    versions = as_versions(paths, clips)
    truth = versions.pop() if args.truth else None
    if args.model:
        versions += _restored(versions[0], clips[0], truth, args)
    settings = ComparisonSettings(args.frames, args.measure, bool(args.model), args.enlarge, args.max_size * 1_000_000)
    args.output.parent.mkdir(parents=True, exist_ok=True)  # raises errors now, and not after an hour
    with Progress(count_steps(versions, truth, settings), "frames compared", args.quiet) as progress:
        comparison = compare(versions, truth, settings, progress.step)
    write_page(comparison, args.output)
    for note in notes_on(comparison):
        print(note, file=sys.stderr)
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {len(comparison.pictures.by_frame)} frames, {size:.1f} MB; open it in a browser", file=sys.stderr)


def _check(args: argparse.Namespace) -> None:
    """Checks the arguments.

    Raises:
        ValueError: if arguments do not go together; the message says how they would.
    """
    if args.model and len(args.clips) > 1:
        raise ValueError(f"--model restores one clip, and there are {len(args.clips)}; give one, or leave --model out")
    if not args.model and (args.refine or args.ensemble > 1):
        raise ValueError("--refine and --ensemble are for frames that --model restores; give --model, or leave them out")
    if not args.model and len(args.clips) + bool(args.truth) < 2:
        raise ValueError("there is nothing to compare the clip with; give a second one, --truth or --model")
    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"the page {args.output} must have a name that ends in .html")
    if args.output.is_dir():
        raise ValueError(f"{args.output} is a folder; give the page another name")


def _restored(source: "Version", clip: "Clip", truth: "Version | None", args: argparse.Namespace) -> list["Version"]:
    """Makes a version of the clip for each model, which restores it."""
    from vsedvr.compare.restored import restored_version
    from vsedvr.compare.version import clean_name

    device, dtype = engine_settings(args)
    models = load_models(args.model)
    refine = load_second_model(args.refine, models)
    versions = []
    for name, model in models.items():
        shown = clean_name(name)
        if shown in (source.name, truth and truth.name):
            shown += " (model)"
        purpose = (ZOO[name].task if name in ZOO else "") + methods_text(args.refine, args.ensemble)
        restored = restored_version(
            source, clip, shown, purpose.removeprefix(", "), model, device, dtype, refine, args.ensemble
        )
        versions.append(restored)
    return versions


def _at_least_one(text: str) -> int:
    """Reads a whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: if it is anything else.
    """
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)
