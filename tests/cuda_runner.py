"""Builds the kernels for GPUs as they are into a library for this CPU (tests/cuda_on_cpu), and launches them as CuPy would;
compiles them for a GPU as CuPy does, with none there.
"""

import ctypes
import io
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from torch import Tensor

from vsedvr.ops import cuda

FOLDER = Path(__file__).parent / "cuda_on_cpu"
SCHEDULES = {"in order": 0, "reversed": 1, "shuffled": 2}
FLAGS = ("-std=c++17", "-march=native", "-fno-strict-aliasing", "-Wno-unknown-pragmas", "-D__CUDA_ARCH__=900", "-DCANDIDATES")


class Runner:
    """Replaces vsedvr.ops.cuda.launch, for tensors on the CPU."""

    def __init__(self, library: Path) -> None:
        self.run = ctypes.CDLL(str(library)).run
        self.run.restype = ctypes.c_char_p
        self.run.argtypes = [ctypes.c_char_p, *[ctypes.c_uint] * 3, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        self.schedule = "in order"
        self.launched: list[str] = []

    def launch(self, name: str, blocks: tuple[int, ...], shared_bytes: int, *args: Tensor | int | float | None) -> None:
        """Runs a kernel; raises RuntimeError if it does something wrong."""
        values = [_c_value(arg) for arg in args]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        x, y = (*blocks, 1)[:2]
        self.launched.append(name)
        error = self.run(f"vsedvr_{name}".encode(), x, y, cuda.THREADS, shared_bytes, SCHEDULES[self.schedule], pointers)
        if error is not None:
            raise RuntimeError(error.decode())


def _c_value(arg: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int | ctypes.c_float:
    if arg is None:
        return ctypes.c_void_p(None)
    if isinstance(arg, Tensor):
        return ctypes.c_void_p(arg.data_ptr())
    return ctypes.c_int(arg) if isinstance(arg, int) else ctypes.c_float(arg)


def compiler() -> str:
    """Returns the path of g++; skips the test if there is none."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the runner switches stacks as x86-64 Linux has them")
    path = shutil.which("g++")
    if path is None:
        pytest.skip("no g++")
    return path


def build(folder: Path, names: Sequence[str], change: Callable[[str], str] = lambda text: text) -> Runner:
    """Builds a library of some kernels in a folder of its own. `change` puts a bug into their text."""
    write_source(folder, names, change)
    library = folder / "kernels.so"
    flags = ["-O2", "-shared", "-fPIC", *FLAGS]
    subprocess.run([compiler(), *flags, f"-I{folder}", FOLDER / "host.cpp", "-o", library], check=True, timeout=300)
    return Runner(library)


def write_source(folder: Path, names: Sequence[str], change: Callable[[str], str] = lambda text: text) -> None:
    """Returns the text that CuPy compiles, without prims.cuh and with only some kernels, for the C++ files to include."""
    _, text = cuda.source().split('#line 1 "deform_conv_samples.cuh"\n')
    changed = change(text)
    wanted = {f"vsedvr_{name})" for name in names}
    definition = re.compile(r"[A-Z_]+\(.* vsedvr_\w+\)")  # of a kernel, by one of the macros for them
    lines = [line for line in changed.splitlines() if not definition.fullmatch(line) or line.split()[-1] in wanted]
    (folder / "kernels.cu").write_text("\n".join(lines))
    (folder / "kernel_names.inc").write_text("\n".join(f"KERNEL(vsedvr_{name})" for name in names))


def build_program(folder: Path, file: str, names: Sequence[str], flags: Sequence[str]) -> Path:
    """Builds a program from a file beside host.cpp."""
    write_source(folder, names)
    program = folder / "program"
    subprocess.run([compiler(), *flags, *FLAGS, f"-I{folder}", FOLDER / file, "-o", program], check=True, timeout=300)
    return program


def compile_for_gpu(text: str, arch: int) -> tuple[bytes, str]:
    """Compiles a text as CuPy does, for a compute capability such as 86; returns the binary and the assembler's output."""
    compiler = pytest.importorskip("cupy.cuda.compiler", reason="no CuPy")
    log = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:  # CuPy asks the driver, which does not exist without a GPU
        patch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch=None: (f"-arch=sm_{arch}", "cubin"))
        options = (*cuda.OPTIONS, "-DCANDIDATES", "-ftz=true", "--ptxas-options=-v")  # CuPy adds -ftz
        cubin, _ = compiler.compile_using_nvrtc(text, options, arch=str(arch), log_stream=log)
    return cubin, log.getvalue()
