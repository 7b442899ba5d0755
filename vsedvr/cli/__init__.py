"""The command `vsedvr`: each command is a file here with `add_arguments` and `run`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from vsedvr import __version__

__all__ = ["main"]

COMMANDS = {
    "restore": "restore a film into a file, safe against interruptions",
    "train": "train a network from a preset",
    "eval": "measure models on benchmarks and on files of your own",
    "inspect": "show what the network does with a clip: alignment and attention",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit status: 0, 1 after an error that its message explains, 2 for wrong usage."""
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv and argv[0] in COMMANDS else None
    try:  # the others need not be loaded: torch takes a second
        command = import_module(f"vsedvr.cli.{name}") if name else None
    except ModuleNotFoundError as error:
        extra = "restore" if name == "restore" else "train"
        print(f'vsedvr {name} needs {error.name}; pip install "vsedvr[{extra}]" brings it', file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser("vsedvr", description="EDVR video restoration")
    parser.add_argument("--version", action="version", version=f"vsedvr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for known, summary in COMMANDS.items():
        subparser = subparsers.add_parser(known, help=summary, description=summary)
        if command and known == name:
            command.add_arguments(subparser)
    args = parser.parse_args(argv)
    assert command is not None  # without one the parser exits
    try:
        command.run(args)
    except (OSError, ValueError, MemoryError, ImportError) as error:
        print(f"vsedvr {name}: {error}", file=sys.stderr)
        return 1
    return 0
