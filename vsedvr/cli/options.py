"""Options that several commands share: models, device and precision."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from vsedvr import EDVR
from vsedvr.infer import ENSEMBLES, PRECISIONS, check_second_stage, choose_device, choose_precision
from vsedvr.weights import EMBEDDED, ZOO, load_model

__all__ = [
    "MODEL_HELP",
    "add_engine_arguments",
    "add_ensemble_argument",
    "add_model_argument",
    "add_output_arguments",
    "add_refine_argument",
    "engine_settings",
    "file_path",
    "load_models",
    "load_second_model",
    "methods_text",
    "parse_device",
]


MODEL_HELP = f"embedded model ({', '.join(EMBEDDED)}), published model (see `vsedvr models`) or checkpoint file"


def file_path(text: str) -> Path:
    """Converts a path from the command line, in which ~ is the home folder."""
    return Path(text).expanduser()


def add_output_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Adds --output and --quiet.

    Args:
        parser: parser of the command.
        folder: default folder for results.
    """
    parser.add_argument("--output", type=file_path, default=Path(folder), help=f"folder of the results; {folder} by default")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def add_model_argument(parser: argparse.ArgumentParser, repeatable: bool) -> None:
    """Adds --model, which takes names or paths of models.

    Args:
        parser: parser of the command.
        repeatable: whether the option may be given several times.
    """
    text = f"{MODEL_HELP}; small by default"
    if repeatable:
        parser.add_argument("--model", action="append", metavar="MODEL", help=f"{text}; may be given several times")
    else:
        parser.add_argument("--model", default="small", metavar="MODEL", help=text)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --precision, which engine_settings reads."""
    parser.add_argument("--device", type=parse_device, help="cpu, cuda or cuda:N; by default the first GPU where there is one")
    parser.add_argument("--precision", choices=PRECISIONS, help="as the filter by default: fp16 on a GPU, fp32 on a CPU")


def add_ensemble_argument(parser: argparse._ActionsContainer) -> None:
    """Adds --ensemble."""
    parser.add_argument(
        "--ensemble",
        type=int,
        choices=ENSEMBLES,
        default=1,
        help="mean over 4 flips of each frame, or over 8 with transposed ones: a little better, 4 or 8 times the time",
    )


def add_refine_argument(parser: argparse._ActionsContainer) -> None:
    """Adds --refine: the name or path of a second model."""
    parser.add_argument("--refine", metavar="MODEL", help="a second model, which restores the result of the first")


def parse_device(text: str) -> torch.device:
    """Converts the argument of --device to a device, which need not exist. "cuda" without a number has index None.

    Raises:
        argparse.ArgumentTypeError: if it is not cpu, cuda or cuda:N.
    """
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", text):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:N, such as cuda:0, got {text!r}")
    return torch.device(text)


def engine_settings(args: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """Returns the device and precision that were given; by default those of the filter for 8-bit clips.

    Raises:
        ValueError: if there is no such device.
    """
    asked: torch.device | None = args.device
    device = choose_device(None if asked is None else -1 if asked.type == "cpu" else asked.index or 0)
    return device, choose_precision(args.precision, device, exact_input=False)


def load_models(names: Sequence[str]) -> dict[str, EDVR]:
    """Loads models and gives each a short name that can name a folder too: the model's own, or the file's stem.

    Files with the same name, such as those of several trainings, get their folder's name in front.

    Args:
        names: names of models and paths of checkpoints; ~ is the home folder.

    Returns:
        Models by short name.

    Raises:
        ValueError: if two names are still the same.
        OSError: if there is no such model.
    """
    short = [name if name in ZOO else Path(name).stem for name in names]
    full = [name if name in ZOO else f"{file_path(name).absolute().parent.name}-{Path(name).stem}" for name in names]
    unique = [a if short.count(a) == 1 else b for a, b in zip(short, full, strict=True)]
    twice = next((name for name in unique if unique.count(name) > 1), None)
    if twice:
        raise ValueError(f"two models are named {twice!r}; give each once, and files of other names")
    return {name: load_model(path) for name, path in zip(unique, names, strict=True)}


def load_second_model(name: str | None, firsts: Mapping[str, EDVR]) -> EDVR | None:
    """Loads the model of --refine; None where there is none.

    Args:
        name: name of a model, or the path of a checkpoint; ~ is the home folder.
        firsts: the models whose results it restores, by name.

    Raises:
        ValueError: if it does not fit one of them.
        OSError: if there is no such model.
    """
    if name is None:
        return None
    second = load_model(name)
    for first in firsts.values():
        check_second_stage(first.config, second.config)
    return second


def methods_text(refine: str | None, ensemble: int) -> str:
    """Returns the end of a title that names the second stage and the self-ensemble of all models.

    An example is ", refined by deblur, self-ensemble of 4". Without both it is empty.
    """
    stages = f", refined by {refine if refine in ZOO else Path(refine).stem}" if refine else ""
    return stages + (f", self-ensemble of {ensemble}" if ensemble > 1 else "")
