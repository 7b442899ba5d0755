"""`make gpu-check`: all that needs a GPU, in eight minutes: the tests, then figures, in benchmarks/gpu/<card>.md and .json.

Needs torch, CuPy and pytest; torchvision for the comparisons, VapourSynth and cccv for rows of their own, each where it is
installed, and compute-sanitizer where that is. `python -m benchmarks.gpu.check` does without make. Every figure stands
behind a check of the answer. Short of time there are fewer repetitions, never fewer checks.
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
from benchmarks.gpu.report import write
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
    report: dict[str, Any] = {"card": torch.cuda.get_device_name(device), "versions": versions(), "problems": []}
    report["tests"] = run_tests(report["problems"])
    report["sanitizer"] = run_sanitizer(report["problems"])
    report["first_frame"] = network.first_frame()
    report["ceilings"] = dcn.ceilings(device)
    filter_sizes = gpu_filter.SIZES if find_spec("vapoursynth") else ()
    measure(report, device, end, network.MODELS, dcn.SIZES, network.SIZES, filter_sizes)
    path = write(report, Path(__file__).parent)
    print(f"\n{path.read_text(encoding='utf-8')}\nwritten to {path}")
    return 1 if report["problems"] else 0


def measure(
    report: dict[str, Any],
    device: torch.device,
    end: float,
    models: dict[str, EDVRConfig],
    operator_sizes: Sizes,
    network_sizes: Sizes,
    filter_sizes: Sizes,
    times: int = 15,
) -> None:
    """Fills in the report's figures and adds to its problems.

    Args:
        report: with its ceilings.
        end: on time.monotonic()'s clock; after it nothing is repeated.
        filter_sizes: none where VapourSynth is not installed.
    """
    limits, problems = report["ceilings"], report["problems"]
    operators = [(channels, *size) for channels in dcn.CHANNELS for size in operator_sizes]
    networks = [(name, config, *size) for name, config in models.items() for size in network_sizes]
    for channels in dcn.CHANNELS:
        problems += dcn.check_answers(channels, device)
    for name, config in models.items():
        problems += network.check_answers(name, config, device)
    budget = Budget((end - time.monotonic()) / 10, len(operators))
    report["operator"] = [progress(dcn.operator_row(*row, device, limits, times, budget.next_deadline())) for row in operators]
    budget = Budget(end - time.monotonic(), len(networks) + len(filter_sizes))
    report["network"] = [progress(network.network_row(*row, device, limits, times, budget.next_deadline())) for row in networks]
    report["filter"] = [progress(gpu_filter.filter_row(*size, device, times, budget.next_deadline())) for size in filter_sizes]
    problems += [problem for row in report["network"] + report["filter"] for problem in row["problems"]]


def progress(row: dict[str, Any]) -> dict[str, Any]:
    print({key: value for key, value in row.items() if key in ("channels", "model", "size", "ratio")}, flush=True)
    return row


def run_tests(problems: list[str]) -> str:
    """The marked tests, of the files that have some: others may need packages that are not here."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    output, code = run(command, timeout=240)
    if code:
        print(output)
        problems.append("tests failed: `pytest -m gpu`")
    return output.strip().splitlines()[-1].strip("= ") if output.strip() else "none ran"


def run_sanitizer(problems: list[str]) -> str:
    """Accesses to memory and races of the operator's kernels."""
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
    """Output and exit status; -1 if it took too long."""
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as error:
        return str(error), -1
    return done.stdout, done.returncode


def versions() -> str:
    wanted = ("torch", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "vapoursynth", "cccv")
    found = {str(distribution.name).lower(): distribution.version for distribution in distributions()}
    names = [f"{name} {found[name]}" for name in wanted if name in found]
    return ", ".join([f"Python {platform.python_version()}", *names, f"CUDA {torch.version.cuda}"])


if __name__ == "__main__":
    sys.exit(main())
