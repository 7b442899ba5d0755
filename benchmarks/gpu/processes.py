"""Processes with a time limit, which the checks of a GPU start: one that hangs or crashes ends alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["NOT_FINISHED", "ROOT", "Outcome", "gpu_test_files", "run", "run_tests"]

ROOT = Path(__file__).parent.parent.parent
NOT_FINISHED = "not finished"


class Outcome(NamedTuple):
    """How a process ended."""

    output: str
    """What it wrote to stdout and stderr, up to its end."""
    code: int | None
    """Its exit status; None if it did not end in time, which is no failure."""

    @property
    def failed(self) -> bool:
        return self.code is not None and self.code != 0

    @property
    def last_line(self) -> str:
        """The last line of the output without rulers around it; or that the process was not finished."""
        if self.code is None:
            return NOT_FINISHED
        lines = self.output.strip().splitlines()
        return lines[-1].strip("= ") if lines else "no output"


def run(command: Sequence[str], timeout: float, **variables: str) -> Outcome:
    """Runs a program in the root of the checkout, where `import vsedvr` finds the checkout's package.

    Args:
        command: program and arguments.
        timeout: seconds, after which it is ended together with all processes that it has started.
        variables: environment variables that it has in addition.
    """
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **variables}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=max(timeout, 0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return Outcome(output, None)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Outcome(output, process.returncode)


def gpu_test_files() -> list[str]:
    """Files of tests that need a GPU, from the root of the checkout: with the mark, or the fixture of conftest.py that has it.

    They are found by their text, because other files cannot be imported where packages are missing.
    """
    files = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    return [path.relative_to(ROOT).as_posix() for path, text in files.items() if "mark.gpu" in text or "run_all" in text]


def run_tests(timeout: float, files: Sequence[str] = ()) -> Outcome:
    """Runs the tests that need a GPU.

    Args:
        timeout: seconds.
        files: where the tests are, from the root of the checkout; by default all files that have such tests.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short"]
    return run([*command, *(files or gpu_test_files())], timeout)
