"""vsedvr train: a network from a preset, data and time."""

import argparse
import logging
from pathlib import Path

from vsedvr.train.dataset import TrainingData
from vsedvr.train.loop import Trainer
from vsedvr.train.preset import preset_names, read_preset
from vsedvr.train.processes import Processes
from vsedvr.train.validation import Validation

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", help=f"{', '.join(preset_names())}, or the path of a .toml file")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the preset's paths lie below (default: here)")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, log and TensorBoard")
    parser.add_argument("--valid", type=Path, help="clips to choose the best weights by; not to be trained on")
    parser.add_argument("--valid-lq", type=Path, help="these clips in low quality, where the preset does not make it")
    parser.add_argument("--init", help="checkpoint or model name to begin from, in place of the preset's train.init")
    parser.add_argument("--resume", action="store_true", help="go on exactly where the training in --output stopped")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a value of the preset; may be repeated"
    )


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("vsedvr").setLevel(logging.INFO)
    changes = [*args.set, *([f"train.init={args.init}"] if args.init else [])]
    preset = read_preset(args.preset, changes)
    if args.valid_lq and not args.valid:
        raise ValueError("--valid-lq needs --valid: it is the same clips in low quality")
    if preset.train.tsa_warmup and not preset.train.init:
        raise ValueError(
            f"{preset.name} begins with the fusion alone, in a network that has learned to align: give that as --init, "
            "or train everything from the start with --set train.tsa_warmup=0"
        )
    _check_output(args.output, args.resume)
    cache = args.output / "cache"
    data = TrainingData(preset, args.root, cache)
    validation = Validation(preset, args.valid, args.valid_lq, cache) if args.valid else None
    processes = Processes.join(args.device)
    try:
        trainer = Trainer(preset, data, args.output, processes, validation)
        if args.resume:
            trainer.resume()
        trainer.run()
    finally:
        processes.leave()


def _check_output(output: Path, resume: bool) -> None:
    if not resume and (output / "last.pt").exists():
        raise ValueError(f"{output} holds a training already: --resume goes on with it, another --output begins anew")
