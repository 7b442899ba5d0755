"""`make gpu-check`: all that needs a GPU, in eight minutes: the tests, then figures, in benchmarks/gpu/<card>.md and .json.

Needs torch, CuPy and pytest; torchvision for the comparisons, VapourSynth and cccv for rows of their own, each where it is
installed, and compute-sanitizer where that is. `python3 -m benchmarks.gpu.check` does without make, and without vsedvr being
installed. Every figure stands behind a check of the answer. Short of time there are fewer repetitions, never fewer checks.

The most valuable comes first, and the report is written after each step and each row: what ends early loses nothing. Where the
environment variable OUT names a folder, the report goes there. A step that fails is named in the report, and the next one
runs; one that takes too long is "not finished", which is no failure.
"""

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import dcn, network, processes
from benchmarks.gpu.report import Report, card_kind, write
from benchmarks.timing import Budget
from vsedvr import ops
from vsedvr.model import EDVRConfig

if find_spec("vapoursynth"):
    from benchmarks.gpu import filter as gpu_filter

Sizes = tuple[tuple[int, int], ...]
SECONDS = 8 * 60
RESERVE = 4 * 60
"""Seconds for all that follows the figures: tests, the first frame, the sanitizer."""
SHORT_SIZES = ((180, 320), (540, 960))


def main(args: list[str] | None = None) -> int:
    """Runs the check; returns the exit status: 1 if anything is wrong, or nothing can be measured here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--figures", type=float, metavar="SECONDS", help="measure for so long, at two sizes, and do no more")
    figures = parser.parse_args(args).figures
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA device, and PyTorch finds none here.")
        return 1
    end = time.monotonic() + (figures or SECONDS - RESERVE)
    device = torch.device("cuda", torch.cuda.current_device())
    if not ops.cuda.is_available(device):
        print("gpu-check measures vsedvr's kernels, which cannot be used here; a message says why.")
        return 1
    folder = Path(os.environ.get("OUT") or Path(__file__).parent)
    report = new_report(torch.cuda.get_device_name(device), card_kind(ops.cuda.capability(device)))
    filter_sizes = gpu_filter.SIZES if find_spec("vapoursynth") and not figures else ()
    operator_sizes, network_sizes = (SHORT_SIZES, SHORT_SIZES) if figures else (dcn.SIZES, network.SIZES)

    def measure_all() -> bool:
        report["ceilings"] = dcn.ceilings(device)
        measure(report, folder, device, end, network.MODELS, operator_sizes, network_sizes, filter_sizes)
        return True

    steps: dict[str, Callable[[], Any]] = {"finished": measure_all}
    if not figures:
        steps = {
            "prims": lambda: run_tests(report, 60, ["tests/ops/test_prims.py"]),
            **steps,
            "tests": lambda: run_tests(report, 180),
            "first_frame": network.first_frame,
            "sanitizer": lambda: run_sanitizer(report["problems"]),
        }
    path = run_steps(report, folder, steps)
    print(f"\n{path.read_text(encoding='utf-8')}\nwritten to {path}")
    return 1 if report["problems"] else 0


def new_report(card: str, kind: str) -> Report:
    """A report in which nothing is measured yet, for a card of this name and kind (report.card_kind)."""
    texts = {"card": card, "kind": kind, "versions": versions()}
    states = dict.fromkeys(("prims", "tests", "sanitizer"), "not run yet")
    return {**texts, **states, "finished": False, "problems": [], "operator": [], "network": [], "filter": []}


def run_steps(report: Report, folder: Path, steps: dict[str, Callable[[], Any]]) -> Path:
    """Runs the steps in turn, puts what each returns into the report under its name, and writes the report after each.

    Returns:
        The path of the report as Markdown.
    """
    path = write(report, folder)
    for name, step in steps.items():
        try:
            report[name] = step()
        except Exception as error:
            report["problems"].append(f"{name} failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        path = write(report, folder)
    return path


def measure(
    report: Report,
    folder: Path,
    device: torch.device,
    end: float,
    models: dict[str, EDVRConfig],
    operator_sizes: Sizes,
    network_sizes: Sizes,
    filter_sizes: Sizes,
    times: int = 15,
) -> None:
    """Checks all answers and measures all rows; writes the report after each, so that nothing is lost when it ends early.

    Args:
        report: with its ceilings.
        folder: where the report goes.
        device: the GPU.
        end: the time, on the clock of time.monotonic(), after which nothing is repeated.
        models: networks by name.
        operator_sizes, network_sizes, filter_sizes: (height, width) of the rows of each part; no sizes for the filter where
            VapourSynth is not installed.
        times: repetitions, of which the median is taken.
    """
    limits, problems = report["ceilings"], report["problems"]
    for channels in dcn.CHANNELS:
        problems += dcn.check_answers(channels, device)
    for name, config in models.items():
        problems += network.check_answers(name, config, device)

    def add(part: str, row: dict[str, Any]) -> None:
        print({key: value for key, value in row.items() if key in ("channels", "model", "size", "ratio")}, flush=True)
        report[part].append(row)
        problems.extend(row.get("problems", ()))
        write(report, folder)

    operators = [(channels, *size) for channels in dcn.CHANNELS for size in operator_sizes]
    budget = Budget((end - time.monotonic()) / 10, len(operators))
    for operator in operators:
        add("operator", dcn.operator_row(*operator, device, limits, times, budget.next_deadline()))
    networks = [(name, config, *size) for name, config in models.items() for size in network_sizes]
    budget = Budget(end - time.monotonic(), len(networks) + len(filter_sizes))
    for case in networks:
        add("network", network.network_row(*case, device, limits, times, budget.next_deadline()))
    for size in filter_sizes:
        add("filter", gpu_filter.filter_row(*size, device, times, budget.next_deadline()))


def run_tests(report: Report, timeout: float, files: Sequence[str] = ()) -> str:
    """Runs tests that need a GPU (processes.run_tests); returns pytest's last line. Tests that fail are a problem."""
    outcome = processes.run_tests(timeout, files)
    if outcome.failed:
        print(outcome.output)
        report["problems"].append(f"tests failed: `{' '.join(['pytest -m gpu', *files])}`")
    return outcome.last_line


def run_sanitizer(problems: list[str]) -> str:
    """Runs the operator under compute-sanitizer, which finds wrong accesses to memory and races.

    Returns:
        What ran.
    """
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "not installed"
    states = []
    for what in ("memcheck", "racecheck"):
        outcome = processes.run([*sanitizer_command(tool, what), sys.executable, "-m", "benchmarks.gpu.dcn"], timeout=60)
        if outcome.failed:
            print(outcome.output)
            problems.append(f"compute-sanitizer, {what}: see the output")
        states.append(f"{what} " + (processes.NOT_FINISHED if outcome.code is None else "ran"))
    return ", ".join(states)


def sanitizer_command(tool: str, what: str) -> list[str]:
    """The command that watches our kernels alone: torch's would take minutes."""
    return [tool, "--tool", what, "--report-api-errors", "no", "--error-exitcode", "9", "--kernel-regex", "kns=vsedvr_"]


def versions() -> str:
    """Returns the versions of Python, CUDA and the packages on which figures may depend."""
    wanted = ("torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "vapoursynth", "cccv")
    found = {str(distribution.name).lower(): distribution.version for distribution in distributions()}
    names = [f"{name} {found[name]}" for name in wanted if name in found]
    return ", ".join([f"Python {platform.python_version()}", *names, f"CUDA {torch.version.cuda}"])


if __name__ == "__main__":
    sys.exit(main())
