"""vsedvr models: which models there are, where their files are, and how to get them."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vsedvr import EDVR, EDVRConfig
from vsedvr.cli.options import file_path
from vsedvr.cli.progress import Progress, show_log
from vsedvr.evaluation.table import aligned_table
from vsedvr.weights import ZOO, find_model, load_model
from vsedvr.weights.checkpoint import read_state_dict
from vsedvr.weights.convert import import_checkpoint
from vsedvr.weights.download import DownloadError, download
from vsedvr.weights.findings import embedded_models
from vsedvr.weights.formats import key_format
from vsedvr.weights.verify import file_problem, identify, read_metadata
from vsedvr.weights.zoo import Entry, entry_of, models_folder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(metavar="ACTION", title="actions; list by default")

    def action(name: str, run: Callable[[argparse.Namespace], None], what: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=what, description=what)
        added.set_defaults(action=run)
        return added

    action("list", _list, "list all models: what for, how large, whether they are on this computer")
    get = action("get", _get, "download published models into the models folder")
    get.add_argument("names", nargs="*", metavar="NAME", help="names of models")
    get.add_argument("--all", action="store_true", help="all that can be downloaded")
    get.add_argument("--quiet", action="store_true", help="show no progress")
    verify = action("verify", _verify, "check that the files of models are whole")
    verify.add_argument("names", nargs="*", metavar="NAME", help="names of models; by default all that are on this computer")
    path = action("path", _path, "print the path of a model's file")
    path.add_argument("name", nargs="?", metavar="NAME", help="name of a model; without it the models folder is printed")
    importing = action("import", _import, "write an EDVR checkpoint of any format to safetensors, in the models folder")
    importing.add_argument("file", type=file_path, metavar="FILE", help="checkpoint of BasicSR, of EDVR (2019) or of mmagic")
    importing.add_argument("-o", "--output", type=file_path, metavar="OUT", help="another file, which ends in .safetensors")
    show = action("show", _show, "show what is known of a model, or what is in a checkpoint")
    show.add_argument("model", metavar="NAME|FILE", help="name of a model or checkpoint file")


def run(args: argparse.Namespace) -> None:
    """Runs an action. What it finds goes to stdout, how far it is to stderr.

    Raises:
        ValueError, OSError: if it cannot be done, or a file is not whole.
    """
    args.action(args)


def _list(args: argparse.Namespace) -> None:
    rows: list[Sequence[object]] = [("model", "for", "MB", "licence", "on this computer", "PSNR/SSIM")]
    for entry in ZOO.values():
        figures = ", ".join(_figures(entry)) or "-"
        rows.append((entry.name, entry.task, f"{entry.megabytes:.1f}", entry.licence, _here(entry), figures))
    for name, path in _own_models():
        rows.append((name, f"imported from {read_metadata(path).get('source', 'elsewhere')}", _size(path), "", "yes", "-"))
    print(aligned_table(rows, left=(0, 1, 3, 4, 5)))
    print(f"\nmodels folder: {models_folder()}")


def _get(args: argparse.Namespace) -> None:
    if bool(args.names) == args.all:
        raise ValueError("give names of models, or --all; `vsedvr models` lists them")
    show_log()
    entries = [entry for entry in ZOO.values() if entry.urls] if args.all else [_entry(name) for name in args.names]
    failed = []
    for entry in entries:
        try:
            print(f"{entry.name}: {_downloaded(entry, args.quiet)}", file=sys.stderr)
        except DownloadError as error:
            failed.append(str(error))
    if failed:
        raise ValueError("\n".join(failed))


def _downloaded(entry: Entry, quiet: bool) -> Path:
    with Progress(round(entry.megabytes), "megabytes downloaded", quiet) as progress:

        def count(done: int) -> None:
            while progress.done < min(done // 1_000_000, progress.total):
                progress.step(entry.name)

        return download(entry, on_bytes=count)


def _verify(args: argparse.Namespace) -> None:
    files = [(name, find_model(name)) for name in args.names] or [*_files_here()]
    broken = []
    for name, path in files:
        problem = file_problem(path, ZOO.get(name) or entry_of(path))
        print(f"{name}: {problem or 'whole'}", flush=True)
        broken += [name] if problem else []
    if not args.names:
        finding = embedded_models()
        print(f"embedded models: {finding.text}")
        broken += ["embedded models"] if finding.broken else []
    if broken:
        raise ValueError(f"{', '.join(broken)}: not whole; remove the file and get it again, embedded models by pip")


def _path(args: argparse.Namespace) -> None:
    print(find_model(args.name) if args.name else models_folder())


def _import(args: argparse.Namespace) -> None:
    written = import_checkpoint(args.file, args.output)
    entry = ZOO.get(read_metadata(written)["model"])
    told = "by its SHA-256" if entry and entry.sha256 else "by its name and network"
    print(f"{written}: {f'the published {entry.name}, {told}' if entry else 'no published model'}", file=sys.stderr)


def _show(args: argparse.Namespace) -> None:
    entry = ZOO.get(args.model)
    path = entry.path() if entry else find_model(args.model)
    lines: dict[str, object] = {}
    if path:
        entry = entry or identify(path)
        model, tensors = load_model(path), read_state_dict(path)
        kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
        lines |= {"file": path, "format": f"names of {key_format(tensors)}, {', '.join(sorted(kinds))}, {_size(path)} MB"}
    else:
        assert entry
        model = EDVR(entry.network, device="meta")
    lines["network"] = _network(model.config)
    lines["parameters"] = f"{sum(parameter.numel() for parameter in model.parameters()):,}"
    print("\n".join(f"{name + ':':<12}{text}" for name, text in {**lines, **(_known(entry) if entry else {})}.items()))


def _known(entry: Entry) -> dict[str, str]:
    """What the zoo knows of a model, line by line."""
    lines = {
        "model": entry.name,
        "for": entry.task + (f"; its input is the result of {entry.refines}" if entry.refines else ""),
        "here": _here(entry) or "no",
        "licence": entry.licence,
        "padding": entry.padding,
    }
    if entry.is_embedded:
        return lines
    return lines | {
        "published": f"{entry.title}, {entry.file}, about {entry.megabytes} MB, names of {entry.keys}",
        "sha256": (entry.sha256 if len(entry.sha256) in (0, 64) else f"{entry.sha256}...") or "not published",
        "figures": "; ".join(_figures(entry, source=True)) or "none published for this file",
        "addresses": "\n            ".join([*entry.urls, entry.page]),
    }


def _network(config: EDVRConfig) -> str:
    parts = [f"x{config.scale}", f"{config.num_feat} features", f"window of {config.num_frame} frames, number {config.center}"]
    parts += [f"{config.num_reconstruct_block} blocks", "TSA" if config.with_tsa else "no TSA"]
    return ", ".join([*parts, *(["PreDeblur"] if config.with_predeblur else [])])


def _figures(entry: Entry, source: bool = False) -> Iterator[str]:
    for figure in entry.figures:
        text = f"{figure.benchmark} ({figure.channel.upper()}) {figure.psnr:.2f}/{figure.ssim:.4f}"
        yield f"{text} by {figure.source}" if source else text


def _entry(name: str) -> Entry:
    entry = ZOO.get(name)
    if entry is None:
        find_model(name)  # raises an error that names the nearest model
        raise ValueError(f"{name} is no published model but a file; `vsedvr models` lists the published ones")
    return entry


def _here(entry: Entry) -> str:
    path = entry.path()
    if entry.is_embedded or not path:
        return "in the package" if entry.is_embedded else ""
    return "yes" if path.name == entry.file else "yes, imported"


def _files_here() -> Iterator[tuple[str, Path]]:
    """Yields the name and the file of each model in the models folder, published or imported."""
    for entry in ZOO.values():
        path = None if entry.is_embedded else entry.path()
        if path:
            yield entry.name, path
    yield from _own_models()


def _own_models() -> Iterator[tuple[str, Path]]:
    """Yields the name and the file of each imported model that the zoo does not know."""
    for path in sorted(models_folder().glob("*.safetensors")):
        if path.stem not in ZOO:
            yield path.stem, path


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f}"
