"""vsedvr train: trains a network with a preset and data."""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vsedvr.cli.options import file_path, parse_device
from vsedvr.train.dataset import TrainingData
from vsedvr.train.loop import Trainer
from vsedvr.train.preset import Preset, preset_names, read_preset
from vsedvr.train.processes import Processes
from vsedvr.train.resume import Places, recorded_places, recorded_preset
from vsedvr.train.state import load_state
from vsedvr.train.validation import Validation

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vsedvr train PRESET --output FOLDER [options]\n       vsedvr train --resume FOLDER [options]"
    parser.add_argument("preset", nargs="?", help=f"{', '.join(preset_names())}, or the path of a .toml file")
    parser.add_argument("--root", type=file_path, help="folder that the preset's paths lie below (default: here)")
    parser.add_argument("--output", type=file_path, help="folder for checkpoints, log and TensorBoard")
    parser.add_argument("--valid", type=file_path, help="clips to choose the best weights by; not to be trained on")
    parser.add_argument("--valid-lq", type=file_path, help="these clips in low quality, where the preset does not make it")
    parser.add_argument("--init", help="checkpoint or model name to begin from, in place of the preset's train.init")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="FOLDER",
        help="go on exactly where the training in this folder stopped; nothing else is needed, and --root, --valid, --device "
        "and --set for lengths, intervals and workers may differ",
    )
    parser.add_argument("--device", type=parse_device, help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a value of the preset; may be repeated"
    )


def run(args: argparse.Namespace) -> None:
    """Trains, and tells on stderr what it does and where the result is.

    Raises:
        ValueError, OSError: if arguments and files do not go together, or training cannot continue.
        KeyboardInterrupt: after Ctrl+C, when the state is saved.
    """
    plan = _plan_new(args) if args.resume is None else _plan_resumed(args)
    with Processes.join(args.device) as processes, _log(processes) as handler:
        data, validation = _prepare(plan, processes)
        trainer = Trainer(plan.preset, data, plan.output, processes, validation, state=plan.state)
        if processes.is_first:
            _tell_beginning(trainer)
        with _bar(trainer, handler):
            trainer.run()
        if processes.is_first:
            _tell_end(trainer)
    if trainer.stop_asked == signal.SIGINT:
        raise KeyboardInterrupt


class _Plan(NamedTuple):
    """The preset, the data and the output folder of a training."""

    preset: Preset
    places: Places
    output: Path
    state: dict[str, Any] | None
    """State of the training to resume; None for a new one."""


def _plan_new(args: argparse.Namespace) -> _Plan:
    if args.preset is None or args.output is None:
        raise ValueError("a new training needs a PRESET and --output FOLDER; --resume FOLDER goes on with one")
    if args.valid_lq and not args.valid:
        raise ValueError("--valid-lq needs --valid: it is the same clips in low quality")
    preset = read_preset(args.preset, [*args.set, *([f"train.init={args.init}"] if args.init else [])])
    if preset.train.tsa_warmup and not preset.train.init:
        raise ValueError(
            f"{preset.name} begins with the fusion alone, in a network that has learned to align: give that as --init, "
            "or train everything from the start with --set train.tsa_warmup=0"
        )
    if (args.output / "last.pt").exists():
        raise ValueError(
            f"{args.output} holds a training already: --resume {args.output} goes on with it, another --output begins anew"
        )
    return _Plan(preset, Places(args.root or Path(), args.valid, args.valid_lq), args.output, None)


def _plan_resumed(args: argparse.Namespace) -> _Plan:
    """Plans to resume the training in a folder; other arguments must agree with its state."""
    output = args.output if args.resume is True else file_path(args.resume)
    if output is None or (args.output and args.output != output):
        raise ValueError(
            f"--resume FOLDER goes on with the training in this folder, and --output is {args.output}: give one folder"
        )
    state = load_state(output / "last.pt")
    preset = read_preset(args.preset, args.set) if args.preset else recorded_preset(state, args.set)
    before = recorded_places(state)
    if before is None and args.root is None:
        raise ValueError(f"{output} is by an older version, which did not record where its data lies: give --root, and --valid")
    root, valid, valid_lq = before or Places(Path())
    if args.valid:
        valid, valid_lq = args.valid, None
    places = Places(args.root or root, valid, args.valid_lq or valid_lq)
    return _Plan(preset, places, output, state)


def _prepare(plan: _Plan, processes: Processes) -> tuple[TrainingData, Validation | None]:
    """Opens the data. The first process finds and decodes everything before the others open it, and it alone validates."""
    root, valid, valid_lq = plan.places
    cache = plan.output / "cache"

    def prepare() -> tuple[TrainingData, Validation | None]:
        data = TrainingData(plan.preset, root, cache)
        _ = data.digest
        return data, Validation(plan.preset, valid, valid_lq, cache) if valid else None

    return processes.first(prepare) or (TrainingData(plan.preset, root, cache), None)


@contextmanager
def _log(processes: Processes) -> Iterator[logging.StreamHandler[TextIO]]:
    """Sends the package's log to stderr, but only the first process's, because the others log the same."""
    logger = logging.getLogger("vsedvr")
    logger.setLevel(logging.INFO if processes.is_first else logging.ERROR)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@contextmanager
def _bar(trainer: Trainer, handler: logging.StreamHandler[TextIO]) -> Iterator[None]:
    """Shows a bar below the log if stderr is a terminal."""
    if not (trainer.processes.is_first and sys.stderr.isatty()):
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        handler.setStream(sys.stderr)  # now the bar's replacement for stderr, which writes above the bar
        task = bar.add_task("loss", total=trainer.config.iterations, completed=trainer.iteration)
        trainer.on_step = lambda n, loss: bar.update(task, completed=n, description=f"loss {loss:.4g}")
        yield
    handler.setStream(sys.stderr)


def _tell_beginning(trainer: Trainer) -> None:
    config, network, data = trainer.config, trainer.preset.network, trainer.data
    parameters = sum(parameter.numel() for parameter in trainer.learner.model.parameters())
    clips = len({scene.gt for scene in data.scenes})
    share = config.batch // trainer.processes.count
    lines = {
        "device": f"{trainer.processes.device}, {config.precision}"
        + (f", {trainer.processes.count} processes of {share} windows each" if trainer.processes.count > 1 else ""),
        "network": f"{trainer.preset.name}: {parameters:,} parameters, x{network.scale}, {network.num_frame} frames a window",
        "data": f"{clips:,} clips with {len(data.scenes):,} scenes, {len(data.stills):,} stills; below {data.root.absolute()}",
        "validation": f"{len(trainer.validation.cases)} windows of {trainer.validation.gt.absolute()}"
        if trainer.validation
        else "none: best.safetensors needs --valid",
        "training": f"iterations {trainer.iteration + 1:,} to {config.iterations:,}, batch {config.batch}, "
        f"{config.workers} workers prepare data; saved every {config.save_every:,} iterations",
        "output": f"{trainer.output}",
    }
    for name, line in lines.items():
        print(f"{name:<11} {line}", file=sys.stderr)


def _tell_end(trainer: Trainer) -> None:
    done = f"{trainer.iteration:,} of {trainer.config.iterations:,} iterations are done"
    best = trainer.output / "best.safetensors"
    chosen = f", best by validation ({trainer.best:.2f} dB): {best}" if best.exists() else ""
    print(f"{done}; weights: {trainer.output / 'last.safetensors'}{chosen}", file=sys.stderr)
