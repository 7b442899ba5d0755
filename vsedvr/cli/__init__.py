"""The command `vsedvr`: each of its commands is a module here with `add_arguments` and `run`."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from vsedvr import __version__

__all__ = ["main"]

COMMANDS = {
    "restore": "restore a film into a file, safe against interruptions",
    "check": "show what works on this machine, what does not, and what mends it",
    "models": "list, download, check and import models",
    "bench": "measure how many frames a second this machine restores",
    "train": "train a network from a preset",
    "eval": "measure models on benchmarks and on files of your own",
    "compare": "show versions of a clip on one page, with a slider between them",
    "inspect": "show what the network does with a clip: alignment and attention",
    "export": "write a model as an ONNX file, for other programs",
}

EXTRAS = {"restore": "restore", "train": "train", "eval": "eval", "compare": "eval", "inspect": "eval", "export": "export"}
"""The package's extra that a command needs. Commands that are not listed need none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit status.

    The status is 0 for success, 1 for an error that its message explains, 2 for wrong usage (raised as SystemExit), and 130
    after Ctrl+C. Any other error is a bug of vsedvr and keeps its traceback.
    """
    # Must be set before torch is loaded: its threads then sleep while they wait, instead of keeping the cores busy
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv and argv[0] in COMMANDS else None
    parser = argparse.ArgumentParser("vsedvr", description="EDVR video restoration")
    parser.add_argument("--version", action="version", version=f"vsedvr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    try:
        for known, summary in COMMANDS.items():
            subparser = subparsers.add_parser(known, help=summary, description=summary)
            if known == name:  # the other commands are not loaded, because torch takes a second
                command = import_module(f"vsedvr.cli.{name}")
                command.add_arguments(subparser)
        args = parser.parse_args(argv)
        command.run(args)
    except KeyboardInterrupt as error:
        print(f"\nvsedvr {name}: stopped" + (f"; {error}" if str(error) else ""), file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if name is None or (error.name or "").startswith("vsedvr"):
            raise
        package = f'"vsedvr[{EXTRAS[name]}]"' if name in EXTRAS else error.name
        print(f"vsedvr {name} needs {error.name}; pip install {package} brings it", file=sys.stderr)
        return 1
    except (OSError, ValueError, MemoryError, ImportError) as error:
        print(f"vsedvr {name}: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def _explain(error: Exception) -> str:
    """Describes an error in words; for errors of the operating system, the path and the reason without the error number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__
