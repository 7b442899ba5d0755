"""`make gpu-check`: all that needs a GPU, in eight minutes: the tests, then figures, in benchmarks/gpu/<card>.md and .json.

Needs torch, CuPy and pytest; torchvision for the comparisons, VapourSynth and cccv for rows of their own, each where it is
installed, and compute-sanitizer where that is. `python -m benchmarks.gpu.check` does without make. Every figure stands
behind a check of the answer. Short of time there are fewer repetitions, never fewer checks. The report is written after each
row; where the environment variable OUT names a folder, it goes there.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import dcn, network
from benchmarks.gpu.report import Report, write
from benchmarks.timing import Budget
from vsedvr import ops
from vsedvr.model import EDVRConfig

if find_spec("vapoursynth"):
    from benchmarks.gpu import filter as gpu_filter

ROOT = Path(__file__).parent.parent.parent
Sizes = tuple[tuple[int, int], ...]
SECONDS = 8 * 60
RESERVE = 30
"""Seconds for what every row does once, whatever its deadline."""


def main() -> int:
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA device, and PyTorch finds none here.")
        return 1
    end = time.monotonic() + SECONDS - RESERVE
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for the processes it starts
    device = torch.device("cuda", torch.cuda.current_device())
    if not ops.cuda.is_available(device):
        print("gpu-check measures vsedvr's kernels, which cannot be used here; a message says why.")
        return 1
    folder = Path(os.environ.get("OUT") or Path(__file__).parent)
    report = new_report(torch.cuda.get_device_name(device))
    report["tests"] = run_tests(report["problems"])
    write(report, folder)
    report["sanitizer"] = run_sanitizer(report["problems"])
    write(report, folder)
    report["first_frame"] = network.first_frame()
    report["ceilings"] = dcn.ceilings(device)
    filter_sizes = gpu_filter.SIZES if find_spec("vapoursynth") else ()
    path = measure(report, folder, device, end, network.MODELS, dcn.SIZES, network.SIZES, filter_sizes)
    print(f"\n{path.read_text(encoding='utf-8')}\nwritten to {path}")
    return 1 if report["problems"] else 0


def new_report(card: str) -> Report:
    """Makes a report in which nothing is measured yet."""
    texts = {"card": card, "versions": versions(), "tests": "not run yet", "sanitizer": "not run yet"}
    return {**texts, "finished": False, "problems": [], "operator": [], "network": [], "filter": []}


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
) -> Path:
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

    Returns:
        The path of the report as Markdown.
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
    report["finished"] = True
    return write(report, folder)


def run_tests(problems: list[str]) -> str:
    """Runs the tests that need a GPU, from the files that have such tests: others may need packages that are not installed.

    Returns:
        pytest's last line.
    """
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    output, code = run(command, timeout=240)
    if code:
        print(output)
        problems.append("tests failed: `pytest -m gpu`")
    return output.strip().splitlines()[-1].strip("= ") if output.strip() else "none ran"


def run_sanitizer(problems: list[str]) -> str:
    """Runs the operator under compute-sanitizer, which finds wrong accesses to memory and races.

    Returns:
        What ran.
    """
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "not installed"
    for what in ("memcheck", "racecheck"):
        watch = [tool, "--tool", what, "--report-api-errors", "no", "--error-exitcode", "9"]
        output, code = run([*watch, sys.executable, "-m", "benchmarks.gpu.dcn"], timeout=60)
        if code:
            print(output)
            problems.append(f"compute-sanitizer, {what}: " + ("did not end within a minute" if code < 0 else "see the output"))
    return "memcheck and racecheck ran"


def run(command: list[str], timeout: float) -> tuple[str, int]:
    """Runs a program in the root of the checkout and gives its output and its exit status, -1 if it took too long."""
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as error:
        return str(error), -1
    return done.stdout, done.returncode


def versions() -> str:
    """Returns the versions of Python, CUDA and the packages on which figures may depend."""
    wanted = ("torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "vapoursynth", "cccv")
    found = {str(distribution.name).lower(): distribution.version for distribution in distributions()}
    names = [f"{name} {found[name]}" for name in wanted if name in found]
    return ", ".join([f"Python {platform.python_version()}", *names, f"CUDA {torch.version.cuda}"])


if __name__ == "__main__":
    sys.exit(main())
