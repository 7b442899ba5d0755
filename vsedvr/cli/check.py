"""vsedvr check: shows what works here and what does not, with the command that mends it.

Every sub-package checks itself. This module only looks at versions, and shows all findings in order.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from importlib import metadata

from vsedvr import __version__
from vsedvr.evaluation.table import aligned_table
from vsedvr.finding import Finding, reinstall_line

__all__ = ["add_arguments", "run"]

TILE_SIZE = 1280, 720
"""(width, height) in pixels of the pictures for which tiles are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> None:
    """Prints the findings.

    Raises:
        ValueError: if something that is installed does not work.
    """
    findings = list(_findings())
    broken = [finding.name for finding in findings if finding.broken]
    if args.json:
        print(json.dumps({"works": not broken, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(aligned_table([row for finding in findings for row in _rows(finding)], left=range(3)))
    if broken:
        raise ValueError(f"installed and not working: {', '.join(broken)}")
    if not args.json:
        print("\nAll that is installed works.")


def _rows(finding: Finding) -> Iterator[tuple[str, str, str]]:
    mark = "BROKEN" if finding.broken else "note" if finding.advice else "ok"
    yield mark, finding.name, finding.text
    if finding.advice:
        yield "", "", f"-> {finding.advice}"


def _findings() -> Iterator[Finding]:
    """Yields all findings. A check that raises an error becomes a finding too, because this command is for broken machines."""
    for name, look, advice in LOOKS:
        try:
            yield from look()
        except Exception as error:
            text = f"cannot be looked at ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
            yield Finding(name, text, advice or reinstall_line(), broken=True)
            if name == "PyTorch":  # everything else needs it
                return


def _versions() -> Iterator[Finding]:
    yield Finding("vsedvr", f"{__version__}, in {os.path.dirname(sys.modules['vsedvr'].__file__ or '')}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    for package in ("torch", "vapoursynth", "numpy"):
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "not installed", f"pip install {package}", broken=True)
    yield Finding("system", platform.platform())


def _pytorch() -> Iterator[Finding]:
    from vsedvr.ops import findings

    yield findings.torchvision()
    yield Finding("processor", findings.processor())
    yield findings.cpu_kernels()


def _gpu() -> Iterator[Finding]:
    from vsedvr.infer import findings as infer
    from vsedvr.ops import findings as ops

    yield from infer.gpus()
    yield ops.cupy()
    for device in infer.devices()[:-1]:
        yield ops.gpu_kernels(device)


def _vapoursynth() -> Iterator[Finding]:
    from vsedvr.filter import findings

    yield findings.plugins()
    yield findings.source_filters()
    yield findings.vspipe()


def _weights() -> Iterator[Finding]:
    from vsedvr.weights import findings

    yield findings.embedded_models()


def _memory() -> Iterator[Finding]:
    from vsedvr.filter.graph import cache_may_grow
    from vsedvr.infer import findings
    from vsedvr.weights import EMBEDDED, load_model

    yield findings.runs_on()
    configs = {name: load_model(name).config for name in EMBEDDED}
    for device in findings.devices():
        yield findings.memory(device)
        yield findings.tiles(configs, device, TILE_SIZE, cache_may_grow())


def _restoring() -> Iterator[Finding]:
    from vsedvr.filter.trial import trial
    from vsedvr.infer.findings import devices

    for device in devices():
        yield trial(-1 if device.type == "cpu" else device.index)


LOOKS: tuple[tuple[str, Callable[[], Iterable[Finding]], str], ...] = (
    ("versions", _versions, ""),
    ("PyTorch", _pytorch, "pip install --force-reinstall torch torchvision"),
    ("GPU", _gpu, ""),
    ("VapourSynth", _vapoursynth, "pip install --force-reinstall --no-deps vapoursynth"),
    ("embedded models", _weights, ""),
    ("memory", _memory, ""),
    ("restoring", _restoring, ""),
)
"""Checks in order: (name, function, what to do if it raises an error; "" for installing vsedvr again)."""
