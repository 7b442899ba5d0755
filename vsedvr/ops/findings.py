"""Checks the operators: the compiled CPU kernels, and the GPU kernels with CuPy."""

import platform
from importlib import metadata
from pathlib import Path

import torch

from vsedvr.finding import Finding, reinstall_line
from vsedvr.ops import cuda, native
from vsedvr.ops.find_cupy import (
    CACHE_ADVICE,
    Problem,
    cache_folder,
    cupy_problem,
    first_line,
    install_line,
    installed_cupys,
)

__all__ = ["cpu_kernels", "cupy", "gpu_kernels", "processor", "torchvision"]

INSTRUCTION_SETS = ("every processor of its kind", "AVX2", "AVX-512")
"""Names of instruction sets, indexed by the numbers of native.best_isa."""


def processor() -> str:
    """Returns the name of the CPU as Linux knows it; on other systems, what Python knows of it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def torchvision() -> Finding:
    """Checks torchvision, whose operator is used where there are no kernels. It works only with one version of torch."""
    try:
        import torchvision
    except Exception as error:
        index = "cpu" if torch.version.cuda is None else f"cu{torch.version.cuda.replace('.', '')}"
        advice = f"pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/{index}"
        return Finding(
            "torchvision", f"does not work with torch {torch.__version__} ({first_line(error)})", advice, broken=True
        )
    return Finding("torchvision", torchvision.__version__)


def cpu_kernels() -> Finding:
    """Checks the compiled CPU kernels, and names the instruction set that they use here."""
    name = "kernels for CPUs"
    if native.PROBLEM:
        return Finding(name, native.PROBLEM, reinstall_line(), broken=True)
    if not native.is_available():
        text = "missing, so a CPU takes two to five times as long: there was no compiler when vsedvr was installed"
        return Finding(name, text, f"install g++ or clang, then: {reinstall_line()}")
    return Finding(name, f"there, for {INSTRUCTION_SETS[native.best_isa()]}")


def cupy() -> Finding:
    """Checks CuPy, which compiles the GPU kernels, and names the folder in which it keeps them."""
    packages = installed_cupys()
    text = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    if torch.version.cuda is None:
        return Finding("CuPy", f"{text or 'not installed'}; not needed, since PyTorch here is not for CUDA")
    problem = cupy_problem()
    if problem is not None and problem.reason == "is not installed" and not torch.cuda.is_available():
        return Finding("CuPy", "not installed; needed with an NVIDIA card only")
    if problem is not None:
        text = f"{problem.reason}, so the slower operator of torchvision runs on GPUs"
        return Finding("CuPy", text, problem.remedy, broken=bool(packages))
    if len(packages) > 1:
        remedy = f"pip uninstall {' '.join(packages)} && {install_line()}"
        return Finding("CuPy", f"{text}: two at a time do not work together", remedy, broken=True)
    folder, writable = cache_folder()
    if not writable:
        text = f"{text}, but its cache {folder} cannot be written: kernels are compiled again in every process"
        return Finding("CuPy", text, CACHE_ADVICE)
    return Finding("CuPy", f"{text}, with its cache in {folder}")


def gpu_kernels(device: torch.device) -> Finding:
    """Checks the kernels on a GPU. They are compiled if they are not yet, which takes some seconds."""
    name = f"kernels for {device}"
    if torch.version.cuda is None:
        return Finding(name, "none for GPUs of this maker: the slower operator of torchvision runs")
    kernels = cuda.kernels_or_problem(device.index)
    if isinstance(kernels, Problem):
        text = f"CuPy {kernels.reason}, so the slower operator of torchvision runs"
        return Finding(name, text, kernels.remedy, broken=bool(installed_cupys()))
    return Finding(
        name, f"{len(kernels)} kernels, compiled for compute capability {'.'.join(map(str, cuda.capability(device)))}"
    )
