"""Two short runs on a machine whose card is lent by the minute: `python3 -m benchmarks.gpu.short first`, later `second`.

The first takes 280 s at most. It tells whether the inline PTX is right, then what limits the speed. Give the card back, read
and mend; then the second, 330 s at most: all tests, and the figures of `make gpu-check`. The most valuable comes first. Results
go to <run>.json and the outputs of processes to <run>-<step>.txt after each step, in the folder that the environment variable
OUT names, else in benchmarks/gpu. Needs torch, CuPy and pytest; more where it is installed, as benchmarks.gpu.check.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.gpu import check, processes
from benchmarks.gpu.probe import SECTIONS
from vsedvr.atomic import write_whole

__all__ = ["RUNS", "Step", "main", "run_steps"]

SECONDS = {"first": 280, "second": 330}
MARGIN = 10
"""Seconds of a run that are left for starting up and for writing."""
NO_CARD = "there is no card"
NO_TIME = "no time was left"


class Step(NamedTuple):
    """A part of a run."""

    limit: float
    """Seconds that it may take at most."""
    run: Callable[[float, Path], Any]
    """Does it, given seconds and the path that its output goes to without a suffix; returns what is known then."""


def tests(*files: str) -> Callable[[float, Path], Any]:
    """A step that runs the tests which need a GPU, of some files or of all."""

    def run(seconds: float, path: Path) -> str:
        return _written(processes.run_tests(seconds, files), path)

    return run


def command(*words: str) -> Callable[[float, Path], Any]:
    """A step that runs a Python module of this folder with arguments."""

    def run(seconds: float, path: Path) -> str:
        return _written(processes.run([sys.executable, "-m", *words], seconds), path)

    return run


def machine(seconds: float, path: Path) -> str:
    """What machine this is: the driver's own table, versions, and the tools that are installed."""
    tools = [name for name in ("ncu", "compute-sanitizer", "nvcc") if shutil.which(name)]
    outcome = processes.run([shutil.which("nvidia-smi") or "nvidia-smi"], seconds)
    write_whole(path.with_suffix(".txt"), outcome.output)
    return f"{torch.cuda.get_device_name()}; {check.versions()}; {os.cpu_count()} CPUs; {', '.join(tools) or 'no tools'}"


def probe(seconds: float, path: Path) -> dict[str, Any]:
    """All sections of probe.py: in one process, and after one that fails in a new one, since an error of a kernel stays."""
    end, found = time.monotonic() + seconds, path.with_suffix(".json")
    results: dict[str, Any] = {}
    outputs = []
    while (left := [name for name in SECTIONS if name not in results]) and time.monotonic() < end:
        words = ["benchmarks.gpu.probe", "--output", str(found), "--sections", *left]
        outcome = processes.run([sys.executable, "-m", *words], end - time.monotonic())
        outputs.append(outcome.output)
        write_whole(path.with_suffix(".txt"), "\n".join(outputs))
        known = json.loads(found.read_text()) if found.exists() else {}
        if outcome.failed and known.keys() <= results.keys():
            known[left[0]] = {"failed": outcome.last_line}
        results |= known
        write_whole(found, json.dumps(results, indent=1))
        if outcome.code is None:
            break
    return {name: results.get(name, processes.NOT_FINISHED) for name in SECTIONS}


def ncu(seconds: float, path: Path) -> str:
    """What the operator waits for, by NVIDIA's profiler where it is installed: one launch at each size."""
    tool = shutil.which("ncu")
    if tool is None:
        return "not installed"
    words = [tool, "--set", "full", "--clock-control", "none", "-k", "regex:vsedvr_mma", "-c", "2", "--page", "details"]
    return _written(processes.run([*words, sys.executable, "-m", "benchmarks.gpu.probe", "--launch"], seconds), path)


def sanitizer(what: str) -> Callable[[float, Path], Any]:
    """A step that watches the operator with a tool of compute-sanitizer, where that is installed."""

    def run(seconds: float, path: Path) -> str:
        tool = shutil.which("compute-sanitizer")
        if tool is None:
            return "not installed"
        words = [*check.sanitizer_command(tool, what), sys.executable, "-m", "benchmarks.gpu.dcn"]
        return _written(processes.run(words, seconds), path)

    return run


def _written(outcome: processes.Outcome, path: Path) -> str:
    """Writes a process's output beside the results; returns its last line, with the exit status if that is not 0."""
    write_whole(path.with_suffix(".txt"), outcome.output)
    return f"exit {outcome.code}: {outcome.last_line}" if outcome.failed else outcome.last_line


OPERATORS = (
    "tests/ops/test_bias_act.py",
    "tests/ops/test_cuda_dcn.py",
    "tests/ops/test_cuda_dcn_backward.py",
    "tests/ops/test_cuda.py",
    "tests/infer/test_transfer.py",
    "tests/infer/test_beyond.py",
)
ENGINE = ("tests/infer/test_engine.py", "tests/ops/test_dcn.py", "tests/infer/test_memory.py", "tests/infer/test_workspace.py")

RUNS: dict[str, dict[str, Step]] = {
    "first": {
        "machine": Step(10, machine),
        "prims": Step(60, tests("tests/ops/test_prims.py")),
        "probe": Step(125, probe),
        "operators": Step(75, tests(*OPERATORS)),
        "ncu": Step(45, ncu),
        "engine": Step(120, tests(*ENGINE)),
    },
    "second": {
        "tests": Step(120, tests()),
        "figures": Step(170, command("benchmarks.gpu.check", "--figures", "140")),
        "memcheck": Step(60, sanitizer("memcheck")),
        "racecheck": Step(60, sanitizer("racecheck")),
    },
}
"""The steps of each run by name, in order."""


def run_steps(
    run: str, steps: Mapping[str, Step], folder: Path, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Runs steps in turn and writes what is known into <folder>/<run>.json after each.

    Args:
        run: name of the run.
        steps: the steps by name.
        folder: where the results go; it is made if it is missing.
        seconds: for all of them. What does not fit any more is left out.
        clock: time in seconds.

    Returns:
        By step what it returned, or how it failed, or why it did not run.
    """
    end = clock() + seconds
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = dict.fromkeys(steps, "not run yet")
    for name, step in steps.items():
        begin = clock()
        if not torch.cuda.is_available():
            results[name] = NO_CARD
        elif end - begin < 1:
            results[name] = NO_TIME
        else:
            try:
                results[name] = step.run(min(step.limit, end - begin), folder / f"{run}-{name}")
            except Exception as error:
                results[name] = f"failed: {type(error).__name__}: {error}"
        print(f"{clock() - begin:4.0f} s  {name}: {json.dumps(results[name], indent=1)}", flush=True)
        write_whole(folder / f"{run}.json", json.dumps(results, indent=1) + "\n")
    return results


def main(args: list[str] | None = None) -> int:
    """Runs one of RUNS; returns the exit status, which is 1 where there is no card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.short", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", choices=RUNS)
    run = parser.parse_args(args).run
    folder = Path(os.environ.get("OUT") or Path(__file__).parent)
    run_steps(run, RUNS[run], folder, SECONDS[run] - MARGIN)
    return 0 if torch.cuda.is_available() else 1


if __name__ == "__main__":
    sys.exit(main())
