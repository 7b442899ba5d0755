"""vsedvr inspect: shows what the network does with a clip, as sheets, clips and numbers.

Modules that inspect are imported only when it runs, so that its help needs nothing but the package itself.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsedvr.atomic import write_whole
from vsedvr.cli.options import add_engine_arguments, add_model_argument, add_output_arguments, engine_settings, file_path
from vsedvr.cli.progress import Progress, show_log
from vsedvr.infer import Engine, Tiling, clip_windows
from vsedvr.weights import load_model

if TYPE_CHECKING:
    from vsedvr.data.clip import Clip, Frame

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", type=file_path, help="a video or a folder of frames")
    add_model_argument(parser, repeatable=False)
    add_engine_arguments(parser)
    parser.add_argument("--frame", default="0", metavar="N", help="the frame to restore, or frames FIRST-LAST; 0 by default")
    add_output_arguments(parser, "inspection")


def run(args: argparse.Namespace) -> None:
    """Writes sheet_<frame>.png, lengths.csv and, for several frames, clips; prints the mean lengths of the flow.

    Raises:
        ValueError, OSError, MemoryError: if the frames cannot be inspected.
        KeyboardInterrupt: after Ctrl+C; the message says where the sheets so far are.
    """
    from vsedvr.data.clip import open_at_any_frame

    show_log()
    numbers = _frames(args.frame)
    model = load_model(args.model)
    device, dtype = engine_settings(args)
    clip = open_at_any_frame(args.clip)
    if numbers[-1] >= len(clip):
        raise ValueError(f"{args.clip} has the frames 0 to {len(clip) - 1}, asked for {args.frame}")
    engine = Engine(model, device, dtype, Tiling.whole(*clip.size, model.config))
    lengths: list[_Length] = []
    try:
        with Progress(len(numbers), "frames inspected", args.quiet) as progress:
            _inspect(engine, clip, numbers, args.output, lengths, progress.step)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the sheets so far lie in {args.output}" if lengths else "") from None
    finally:
        clip.close()
        if lengths:
            write_whole(args.output / "lengths.csv", _csv(lengths))
    print(_table(lengths), end="")
    written = "sheet_*.png, lengths.csv" + (", *.mkv" if len(numbers) > 1 else "")
    print(f"{args.output}: {written}", file=sys.stderr)


class _Length(NamedTuple):
    """Mean length of the flow from the reference's features to a neighbour's, in pixels of the clip."""

    frame: int
    neighbour: int
    """Place of the neighbour in the window, relative to the reference."""
    neighbour_frame: int
    before: float
    """Mean length before the alignment, in pixels."""
    after: float
    """Mean length after the alignment, in pixels."""


def _inspect(
    engine: Engine, clip: "Clip", numbers: range, output: Path, lengths: list[_Length], on_frame: Callable[[], None]
) -> None:
    """Writes the sheets and clips of some frames, and appends the lengths of the flow to `lengths`."""
    from vsedvr.compare.drawing import png
    from vsedvr.data.lossless import lossless_video
    from vsedvr.data.pairs import to_tensor
    from vsedvr.inspection.alignment import mean_length, view_window
    from vsedvr.inspection.sheet import flow_scale, sheet, strips

    config = engine.config
    full = 0.0
    with ExitStack() as files:
        videos: dict[str, Callable[[Frame], None]] = {}
        for n in numbers:
            indices = clip_windows(config, len(clip)).indices_in_scene(n, clip.scene_starts)
            views = view_window(engine, indices, lambda i: to_tensor(clip[i]))
            full = full or flow_scale(views)  # the first frame's, so that colours mean the same in all
            write_whole(output / f"sheet_{n}.png", png(sheet(views, config.center, [clip[i] for i in indices], full)))
            for name, strip in strips(views, full).items() if len(numbers) > 1 else ():
                if name not in videos:
                    videos[name] = files.enter_context(lossless_video(output / f"{name}.mkv", *strip.shape[:2]))
                videos[name](strip)
            for place, view in enumerate(views, -config.center):
                lengths.append(_Length(n, place, view.number, mean_length(view.flow_before), mean_length(view.flow_after)))
            on_frame()


def _csv(lengths: Sequence[_Length]) -> str:
    lines = [f"{a.frame},{a.neighbour},{a.neighbour_frame},{a.before:.4f},{a.after:.4f}" for a in lengths]
    return "\n".join([",".join(_Length._fields), *lines]) + "\n"


def _table(lengths: Sequence[_Length]) -> str:
    """Formats the means over all frames as a table for a terminal, with a line for each neighbour."""
    lines = [f"{'neighbour':>9} {'before':>8} {'after':>8}   mean length of the flow to its features, in pixels"]
    for neighbour in dict.fromkeys(length.neighbour for length in lengths):
        of_place = [(length.before, length.after) for length in lengths if length.neighbour == neighbour]
        before, after = np.mean(of_place, axis=0)
        lines.append(f"{neighbour:>+9} {before:8.2f} {after:8.2f}")
    return "\n".join(lines) + "\n"


def _frames(text: str) -> range:
    """Reads the frame numbers of --frame: "7" or "7-12".

    Raises:
        ValueError: if there are none.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"--frame must be a number, or two with a dash between, the lower one first, got {text!r}")
    return range(int(match[1]), int(match[2] or match[1]) + 1)
