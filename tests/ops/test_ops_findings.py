"""Checks of kernels and CuPy, with and without them, and the commands that solve problems."""

import os
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vsedvr.finding import Finding, reinstall_line
from vsedvr.ops import cuda, findings, native
from vsedvr.ops.find_cupy import Problem, install_line, installed_cupys

INSTALL = 'pip install "vsedvr[cuda13]"'


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Simulates a machine with torch for CUDA 13 and these CuPy packages; `import cupy` works, or fails with `broken`."""

    def arrange(packages: dict[str, str], version: int = 13020, gpu: bool = True, torch_cuda: str | None = "13.0") -> None:
        distributions = [SimpleNamespace(name=name, version=value) for name, value in packages.items()]
        monkeypatch.setattr(metadata, "distributions", lambda: distributions)
        monkeypatch.setattr(metadata, "version", lambda name: packages[name])
        runtime = SimpleNamespace(runtimeGetVersion=lambda: version)
        module = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)) if packages else None
        monkeypatch.setitem(sys.modules, "cupy", module)
        monkeypatch.setattr(torch.version, "cuda", torch_cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))

    return arrange


def test_cupy_that_fits(machine: Any, tmp_path: Path) -> None:
    machine({"cupy-cuda13x": "14.2.0"})
    assert findings.cupy() == Finding("CuPy", f"cupy-cuda13x 14.2.0, with its cache in {tmp_path / 'cache'}")


@pytest.mark.parametrize(("gpu", "advice"), [(True, INSTALL), (False, "")])
def test_no_cupy_is_missed_only_where_there_is_a_gpu(machine: Any, gpu: bool, advice: str) -> None:
    machine({}, gpu=gpu)
    finding = findings.cupy()
    assert finding.advice == advice
    assert not finding.broken, "what is not installed is not broken"
    assert "not installed" in finding.text


def test_cupy_for_another_cuda(machine: Any) -> None:
    machine({"cupy-cuda12x": "13.6.0"}, version=12090)
    finding = findings.cupy()
    assert finding.text.startswith("is for CUDA 12 and torch for CUDA 13")
    assert finding.advice == f"pip uninstall cupy-cuda12x && {INSTALL}"
    assert finding.broken


def test_cupy_that_cannot_be_imported(machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine({"cupy-cuda13x": "14.2.0"})
    monkeypatch.delitem(sys.modules, "cupy")
    (tmp_path / "cupy.py").write_text(
        "try:\n    raise ImportError('libcudart.so.13: cannot open\\nmore')\n"
        "except ImportError as error:\n    raise ImportError('\\n====\\nFailed to import CuPy.\\n') from error\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    finding = findings.cupy()
    assert "cannot be imported (ImportError: libcudart.so.13: cannot open)" in finding.text
    assert finding.advice == f"pip uninstall cupy-cuda13x && {INSTALL}"
    assert finding.broken


def test_two_cupys(machine: Any) -> None:
    machine({"cupy-cuda12x": "13.6.0", "cupy-cuda13x": "14.2.0", "cupy-toolbox": "1"})
    finding = findings.cupy()
    assert finding.advice == f"pip uninstall cupy-cuda12x cupy-cuda13x && {INSTALL}"
    assert finding.broken


def test_a_cache_that_cannot_be_written(machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine({"cupy-cuda13x": "14.2.0"})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = findings.cupy()
    assert str(tmp_path / "cache") in finding.text
    assert finding.advice == "set the environment variable CUPY_CACHE_DIR to a folder that you may write to"
    assert not finding.broken


def test_a_cache_below_a_file(machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine({"cupy-cuda13x": "14.2.0"})
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert findings.cupy().advice == "set the environment variable CUPY_CACHE_DIR to a folder that you may write to"


def test_torch_for_cpus_needs_no_cupy(machine: Any) -> None:
    machine({"cupy-cuda13x": "14.2.0"}, torch_cuda=None)
    assert findings.cupy() == Finding("CuPy", "cupy-cuda13x 14.2.0; not needed, since PyTorch here is not for CUDA")


def test_kernels_that_do_not_compile_on_a_gpu(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine({"cupy-cuda13x": "14.2.0"})
    monkeypatch.setattr(cuda, "kernels_or_problem", lambda index: Problem("cannot compile the kernels (no NVRTC)", INSTALL))
    finding = findings.gpu_kernels(torch.device("cuda", 0))
    assert (finding.name, finding.advice, finding.broken) == ("kernels for cuda:0", INSTALL, True)
    assert "no NVRTC" in finding.text


def test_the_cupy_that_is_installed_here_is_found() -> None:
    assert all(metadata.version(name) for name in installed_cupys())


def test_the_line_takes_an_extra_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = metadata.metadata("vsedvr").get_all("Provides-Extra") or []
    for version in ("12.6", "13.0"):
        monkeypatch.setattr(torch.version, "cuda", version)
        assert install_line().removeprefix('pip install "vsedvr[').removesuffix(']"') in extras


def test_kernels_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    if native.is_available():
        assert findings.cpu_kernels().text.startswith("there, for ")
    monkeypatch.setattr(native, "LIBRARY", None)
    finding = findings.cpu_kernels()
    assert finding.advice == f"install g++ or clang, then: {reinstall_line()}"
    assert not finding.broken
    monkeypatch.setattr(native, "PROBLEM", "_kernels.so cannot be used (too short)")
    assert findings.cpu_kernels() == Finding(
        "kernels for CPUs", "_kernels.so cannot be used (too short)", reinstall_line(), broken=True
    )


@pytest.mark.parametrize(("version", "index"), [("13.0", "cu130"), ("12.6", "cu126"), (None, "cpu")])
def test_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch, version: str | None, index: str) -> None:
    assert not findings.torchvision().broken
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setattr(torch.version, "cuda", version)
    finding = findings.torchvision()
    line = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/"
    assert finding.advice == line + index
    assert finding.broken


def test_the_processor_has_a_name() -> None:
    assert findings.processor().strip()
