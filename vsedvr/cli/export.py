"""vsedvr export: a model as an ONNX file, for other programs."""

import argparse
import sys
from pathlib import Path

from vsedvr import __version__
from vsedvr.cli.options import file_path
from vsedvr.infer.build import published_padding
from vsedvr.weights import EMBEDDED, known_padding, load_model

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Writes the network in fp32, for pictures of any size, and compares it with PyTorch in ONNX Runtime before the file "
        "appears."
    )
    parser.add_argument("model", metavar="MODEL", help=f"embedded model ({', '.join(EMBEDDED)}) or checkpoint file")
    parser.add_argument("output", type=file_path, metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--concat",
        action="store_true",
        help="input (1, num_frame * channels, height, width), as vs-mlrt joins clips, instead of "
        "(1, num_frame, channels, height, width)",
    )
    parser.add_argument(
        "--center", type=int, metavar="N", help="position of the restored frame in the window, from 0; the middle by default"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.onnx if it exists")


def run(args: argparse.Namespace) -> None:
    """Writes the file, and to stderr what it is.

    Raises:
        ValueError, OSError: if there is no such model, or the file cannot be written.
        ModuleNotFoundError: if the extra is missing.
    """
    from vsedvr.export import export_onnx

    model = load_model(args.model, center_frame_idx=args.center)
    config = model.config
    metadata = {
        "vsedvr_version": __version__,
        "model": Path(args.model).name,
        "padding": known_padding(args.model) or published_padding(config),
    }
    difference = export_onnx(model, args.output, metadata, args.concat, args.overwrite)
    print(
        f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB; num_frame {config.num_frame}, center {config.center}, "
        f"scale {config.scale}, size_multiple {config.size_multiple}; within {difference:.0e} of PyTorch",
        file=sys.stderr,
    )
