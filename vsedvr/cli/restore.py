"""vsedvr restore: restores a film into a file."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from vsedvr.cli.options import MODEL_HELP, add_ensemble_argument, add_refine_argument
from vsedvr.restore.codecs import CODECS
from vsedvr.restore.run import Status, plan_text, restore_film
from vsedvr.restore.settings import MATRICES, RestoreSettings, Workers

__all__ = ["add_arguments", "run"]

SECONDS_BETWEEN_LINES = 30
"""Seconds between two lines of progress if stderr is not a terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="video, folder of pictures, or script (.vpy: its output 0)")
    parser.add_argument("output", type=Path, metavar="OUT", help=".mkv, .mp4 or .mov; without suffix a folder of PNG pictures")
    model = parser.add_argument_group("restoring")
    model.add_argument("--model", default="small", help=f"{MODEL_HELP}; small by default")
    add_refine_argument(model)
    add_ensemble_argument(model)
    model.add_argument("--device", help="cpu, or a GPU's number, or several: 0,1; by default the first GPU where there is one")
    model.add_argument("--precision", choices=("fp32", "fp16", "bf16"), help="by default fp16 on a GPU, fp32 on a CPU")
    model.add_argument("--tile", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="tiles of the input; 0 0 for none")
    model.add_argument("--matrix", choices=MATRICES, help="of a source that is tagged wrongly or not at all")
    model.add_argument("--skip-damaged", action="store_true", help="repeat the frame before one that cannot be read")
    part = parser.add_argument_group("part and size")
    part.add_argument("--start", metavar="PLACE", help="first frame: a number (250) or a time (1:02:03.5 or 90s)")
    part.add_argument("--end", metavar="PLACE", help="first frame that is left out, likewise")
    part.add_argument("--height", type=int, help="of the result; frames are resized after they were restored")
    part.add_argument("--scale", type=float, help="size of the result as a multiple of the source's, such as 2")
    encoder = parser.add_argument_group("encoding")
    encoder.add_argument("--codec", choices=CODECS, help="x264 by default")
    encoder.add_argument("--crf", type=float, help="quality: lower is better and larger; 17 by default with x264")
    encoder.add_argument("--preset", help="speed of the encoder")
    encoder.add_argument("--pix-fmt", help="FFmpeg's pixel format; by default the one nearest to the source's")
    encoder.add_argument("--encoder-option", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    sound = parser.add_argument_group("sound and pictures")
    sound.add_argument("--audio", metavar="FILE", help="take the sound from this file")
    sound.add_argument("--fps", help="frames a second of a folder of pictures, such as 25 or 23.976")
    others = parser.add_argument_group("several processes, cards or machines")
    others.add_argument("--jobs", type=int, metavar="N", help="processes of this machine; by default one for each device")
    others.add_argument(
        "--cluster", metavar="ADDRESS", help="use the workers of a Dask scheduler, such as tcp://192.168.1.2:8786"
    )
    others.add_argument("--ship", action="store_true", help="send the input and the models to the workers of the cluster")
    work = parser.add_argument_group("the work")
    work.add_argument("--dry-run", action="store_true", help="print what would be done and how long it takes")
    work.add_argument("--quiet", action="store_true", help="no progress; warnings and errors only")
    work.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    work.add_argument("--restart", action="store_true", help="forget what an earlier run left in OUT.parts")
    work.add_argument("--segment-seconds", type=float, default=10.0, metavar="S", help="length of a segment, 10 by default")


def run(args: argparse.Namespace) -> None:
    """Restores the film. After an interruption, the same command continues.

    Raises:
        ValueError, OSError: if the film cannot be restored.
        KeyboardInterrupt: after Ctrl-C; the message tells the progress and how to continue.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    settings = _settings(args)
    workers = Workers(jobs=args.jobs, cluster=args.cluster, ship=args.ship)
    if args.dry_run:
        print(plan_text(args.source, args.output, settings, args.overwrite), end="")
        return
    last = Status("reading")

    def remember(status: Status) -> None:
        nonlocal last
        last = status
        show(status)

    with _progress(args.quiet) as show:
        try:
            restore_film(args.source, args.output, settings, workers, args.overwrite, args.restart, remember)
        except KeyboardInterrupt as interrupt:
            done = f"{last.done} of {last.frames} frames are restored" if last.frames else "nothing is restored yet"
            message = f"{done}. The same command goes on from the last whole segment."
            raise KeyboardInterrupt(message) from interrupt
    if not args.quiet:
        print(f"{args.output} is done", file=sys.stderr)


def _settings(args: argparse.Namespace) -> RestoreSettings:
    options = {}
    for word in args.encoder_option:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"--encoder-option must be NAME=VALUE, got {word!r}")
        options[name] = value
    same = (
        "model refine ensemble device precision matrix codec crf preset pix_fmt height scale start end fps audio skip_damaged"
    )
    return RestoreSettings(
        **{name: getattr(args, name) for name in same.split()},
        tile=args.tile and (args.tile[0], args.tile[1]),
        encoder_options=options or None,
        segment_seconds=args.segment_seconds,
    )


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Status], None]]:
    """Shows the progress on stderr: a bar on a terminal, otherwise a line now and then."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _Lines(quiet).show
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    with Progress(*columns, console=console, speed_estimate_period=120) as bar:
        yield _Bar(bar).show


class _Bar:
    """Shows a bar for each stage, so that frames of an earlier run do not count as speed."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task: TaskID | None = None
        self.stage = ""
        self.notes: tuple[str, ...] = ()

    def show(self, status: Status) -> None:
        if status.stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            for note in status.notes if status.notes != self.notes else ():
                self.bar.console.print(note, highlight=False)
            self.stage, self.notes = status.stage, status.notes
            self.task = self.bar.add_task(status.stage, total=status.frames or None, completed=status.done)
        assert self.task is not None
        self.bar.update(self.task, completed=status.done)


class _Rate(ProgressColumn):
    """The column of the bar that shows frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.2f} a second")


class _Lines:
    """Prints a line at the beginning of each stage and now and then, for log files."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.stage = ""
        self.notes: tuple[str, ...] = ()
        self.first, self.start, self.printed = 0, 0.0, 0.0

    def show(self, status: Status) -> None:
        now = time.monotonic()
        if status.stage != self.stage:
            self.stage, self.first, self.start = status.stage, status.done, now
            for note in status.notes if status.notes != self.notes else ():
                print(note, file=sys.stderr)
            self.notes = status.notes
        elif now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        if not self.quiet:
            print(self._line(status, now - self.start), file=sys.stderr, flush=True)

    def _line(self, status: Status, seconds: float) -> str:
        if not status.frames:
            return status.stage
        text = f"{status.stage}: frame {status.done} of {status.frames}"
        rate = (status.done - self.first) / seconds if seconds else 0
        if not rate:
            return text
        left = round((status.frames - status.done) / rate)
        return f"{text}, {rate:.2f} a second, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
