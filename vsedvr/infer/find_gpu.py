"""Describes the GPUs that PyTorch finds, or says why it finds none: its build, the driver or the environment."""

import ctypes
import os
import sys

import torch

from vsedvr.finding import Finding

__all__ = ["gpu", "no_gpu", "why_no_gpu"]

DRIVERS = "https://www.nvidia.com/drivers"
PYTORCH = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/"


def gpu(index: int) -> Finding:
    """Describes a GPU that PyTorch has found, and says whether this build of PyTorch has code for it."""
    name = f"GPU {index}"
    properties = torch.cuda.get_device_properties(index)
    text = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.version.cuda is None:
        return Finding(name, f"{text}, by PyTorch for another maker than NVIDIA; untested")
    capability = (properties.major, properties.minor)
    text += f", compute capability {properties.major}.{properties.minor}"
    built_for = [_capability(arch) for arch in torch.cuda.get_arch_list() if arch.startswith("sm_")]
    if built_for and capability < min(built_for):
        text += f"; PyTorch {torch.__version__} has no code for cards below {'.'.join(map(str, min(built_for)))}"
        return Finding(name, text, f"{PYTORCH}cu126", broken=True)
    return Finding(name, text)


def no_gpu() -> Finding:
    """Finds out why PyTorch finds no GPU. Call it only if it finds none."""
    if torch.version.cuda is None and torch.version.hip is None:
        return _torch_for_cpus()
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        problem = "PyTorch finds none"
    except (RuntimeError, AssertionError) as error:
        problem = str(error).partition("\n")[0]
    if "no NVIDIA driver" in problem:
        return Finding("GPU", "none: there is no NVIDIA driver", f"for an NVIDIA card, install its driver: {DRIVERS}")
    if "too old" in problem:
        advice = f"update the driver: {DRIVERS}; or take PyTorch for an older CUDA: {PYTORCH}cu126"
        return Finding("GPU", f"none: the driver is too old for PyTorch {torch.__version__}", advice, broken=True)
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        text = f"none: CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}"
        return Finding("GPU", text, "unset the environment variable CUDA_VISIBLE_DEVICES, or set it to the number of a card")
    return Finding("GPU", f"none: {problem}", "see whether `nvidia-smi` shows the card", broken=True)


def why_no_gpu() -> str:
    """Why PyTorch finds no GPU, in words for an error message: "CUDA is not available (there is no NVIDIA driver ...)"."""
    return f"CUDA is not available ({no_gpu().text.removeprefix('none: ')}; `vsedvr check` tells what mends it)"


def _torch_for_cpus() -> Finding:
    text = f"none: PyTorch {torch.__version__} is for CPUs only"
    if sys.platform == "darwin":
        return Finding("GPU", text)
    cuda = _driver_cuda()
    if cuda is None:
        advice = f"for an NVIDIA card, install its driver: {DRIVERS}; then: {PYTORCH}cu130"
        return Finding("GPU", f"{text}, and there is no NVIDIA driver", advice)
    return Finding("GPU", f"{text}, but there is an NVIDIA driver", f"{PYTORCH}{'cu130' if cuda >= 13 else 'cu126'}")


def _driver_cuda() -> int | None:
    """Major version of the newest CUDA that the NVIDIA driver supports, such as 13; None if there is no driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int()
        failed = driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else version.value // 1000


def _capability(arch: str) -> tuple[int, int]:
    digits = arch.removeprefix("sm_").rstrip("af")
    return int(digits[:-1]), int(digits[-1])
