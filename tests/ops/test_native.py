import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vsedvr.ops import conv3x3, dcn, native

TESTS = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_kernels_are_built_where_there_is_a_compiler() -> None:
    """If building fails, the kernels are left out without an error, and their tests would only be skipped."""
    assert native.is_available(), "install the package again: pip install -e . -v shows what failed"


@pytest.mark.parametrize("kernel", ["deform_conv", "conv3x3", "conv_direct"])
def test_memory_is_never_read_outside_of_the_tensors(tmp_path: Path, kernel: str) -> None:
    """A program runs the kernels under AddressSanitizer and UndefinedBehaviorSanitizer, for each instruction set."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    program = tmp_path / kernel
    flags = ["-O1", "-g", "-std=c++17", "-pthread", "-Wno-psabi", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([compiler, *flags, Path(__file__).parent / f"{kernel}_asan.cpp", "-o", program], check=True, timeout=300)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    isas = native.best_isa() + 1 if native.is_available() else 1
    runs = {"deform_conv": 96, "conv3x3": 200, "conv_direct": 24}[kernel]
    assert int(result.stdout.split()[0]) >= runs * isas


@pytest.mark.parametrize(
    ("library", "warning"),
    [
        ("none", ""),  # as it is where there was no compiler
        ("broken", r"_kernels\.abi3\.so cannot be used \(.*\), so slower operators of PyTorch run; install vsedvr again"),
        ("of another version", r"cannot be used \(version \d+ of its interface, not 99\)"),
    ],
)
def test_a_package_without_kernels_that_it_can_use_falls_back(tmp_path: Path, library: str, warning: str) -> None:
    package = tmp_path / "vsedvr"
    shutil.copytree(TESTS.parent / "vsedvr", package, ignore=shutil.ignore_patterns("_kernels.*", "__pycache__"))
    if library == "broken":
        (package / "_kernels.abi3.so").write_bytes(b"not a library")
    if library == "of another version":
        if native.FILE is None:
            pytest.skip("built without a compiler")
        shutil.copy(native.FILE, package)
        text = (package / "ops/native.py").read_text()
        (package / "ops/native.py").write_text(re.sub(r"^INTERFACE = \d+", "INTERFACE = 99", text, flags=re.MULTILINE))
    code = """
import torch
from vsedvr.ops import conv3x3, dcn, native
assert not native.is_available()
torch.manual_seed(0)
x = torch.rand(1, 16, 5, 5)
x = conv3x3(x, torch.rand(16, 16, 3, 3))
print(dcn(x, torch.rand(1, 27, 5, 5), torch.rand(3, 16, 3, 3), torch.rand(3), 0.1).sum().item())
"""
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(warning, result.stderr) if warning else not result.stderr
    torch.manual_seed(0)
    x = torch.rand(1, 16, 5, 5)
    x = conv3x3(x, torch.rand(16, 16, 3, 3))
    here = dcn(x, torch.rand(1, 27, 5, 5), torch.rand(3, 16, 3, 3), torch.rand(3), 0.1).sum()
    assert float(result.stdout) == pytest.approx(here.item(), rel=1e-5)
