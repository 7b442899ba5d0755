"""Finds CuPy and problems with it: whether it is installed, works, and is for the same version of CUDA as torch."""

import os
import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch

__all__ = [
    "CACHE_ADVICE",
    "Problem",
    "cache_folder",
    "cupy_problem",
    "first_line",
    "install_line",
    "installed_cupys",
]


class Problem(NamedTuple):
    """Reason why CuPy cannot compile the kernels."""

    reason: str
    """The reason, as it continues a sentence after the word CuPy: "is not installed"."""
    remedy: str
    """What solves the problem, in most cases a command."""


CACHE_ADVICE = "set the environment variable CUPY_CACHE_DIR to a folder that you may write to"
"""What solves the problem of a cache of compiled kernels that CuPy cannot write."""


def cupy_problem() -> Problem | None:
    """Returns what is wrong with CuPy, as far as it shows without a GPU; None if nothing is. torch must be for CUDA."""
    cuda, install = _cuda(), install_line()
    try:
        import cupy
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return Problem("is not installed", install)
        if isinstance(error, OSError):  # CuPy makes the folder of its cache while it is imported
            return Problem(f"cannot be imported ({first_line(error)})", CACHE_ADVICE)
        packages = " ".join(installed_cupys())
        return Problem(f"cannot be imported ({first_line(error)})", f"pip uninstall {packages or 'cupy'} && {install}")
    try:
        of_cupy = str(cupy.cuda.runtime.runtimeGetVersion() // 1000)
    except Exception as error:
        return Problem(f"cannot compile the kernels ({first_line(error)})", install)
    if of_cupy != cuda:
        uninstall = f"pip uninstall cupy-cuda{of_cupy}x"
        return Problem(f"is for CUDA {of_cupy} and torch for CUDA {cuda}", f"{uninstall} && {install}")
    return None


def installed_cupys() -> list[str]:
    """Returns the names of the installed CuPy packages; there is one for each version of CUDA, and two do not work together."""
    names = {distribution.name.lower() for distribution in metadata.distributions()}
    return sorted(name for name in names if re.fullmatch(r"cupy(-cuda\w+|-rocm[\w-]+)?", name))


def cache_folder() -> tuple[Path, bool]:
    """Returns the folder in which CuPy keeps compiled kernels, and whether this process may write there."""
    folder = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return folder, existing.is_dir() and os.access(existing, os.W_OK)


def _cuda() -> str:
    """Returns the major version of the CUDA that torch is for, such as "12"."""
    return str(torch.version.cuda).partition(".")[0]


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's original cause, since CuPy's own errors are twenty lines long."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def install_line() -> str:
    """Returns the command that installs CuPy for the version of CUDA that torch is for."""
    return f'pip install "vsedvr[cuda{_cuda()}]"'
