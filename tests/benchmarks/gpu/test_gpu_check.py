import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu import check, dcn, network, processes
from benchmarks.gpu import report as gpu_report
from vsedvr import ops
from vsedvr.model import EDVRConfig

CPU = torch.device("cpu")
ROOT = processes.ROOT
SMALL = {"small": EDVRConfig(3, 3, 16, 5, 2, 1, 1, num_tail_feat=16)}


@pytest.fixture
def report() -> dict[str, Any]:
    """Makes a report without figures, for a CPU that takes the GPU's place."""
    limits = dcn.ceilings(CPU, nbytes=1 << 16, side=32)
    return {**check.new_report("NVIDIA Test 4 (80GB)", gpu_report.DATA_CENTRE), "ceilings": limits}


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main([]) == 1
    assert capsys.readouterr().out == "gpu-check needs a CUDA device, and PyTorch finds none here.\n"


def test_it_needs_no_more_than_torch_and_pytest(tmp_path: Path) -> None:
    """The check needs only torch, pytest and CuPy; without CuPy there would be nothing to measure."""
    code = """
import sys
for name in ("vapoursynth", "cccv", "torchvision", "psutil", "safetensors", "av", "skimage"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
from benchmarks.gpu import check
assert check.main([]) == 1
import torch
from vsedvr.model import EDVRConfig
small = EDVRConfig(3, 3, 8, 3, 2, 1, 1, num_tail_feat=8)
assert check.dcn.check_answers(64, torch.device("cpu")) == []
check.network.Engine(check.network.EDVR(small)).restore(range(3), lambda i: torch.rand(3, 16, 16))
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, str(ROOT)]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path, env=environment)


def test_the_tests_for_a_gpu_need_no_more_than_torch_either(tmp_path: Path) -> None:
    """No installation of vsedvr: they are collected in a copy of the checkout by a Python that does not know it.

    Those that compare with torchvision are skipped where that is missing.
    """
    for name in ("vsedvr", "kernels", "tests", "benchmarks", "pyproject.toml"):
        copy: Any = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    code = """
import sys
for name in ("vapoursynth", "cccv", "psutil", "safetensors", "av", "skimage", "PIL", "torchvision", "cv2"):
    sys.modules[name] = None
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import pytest, vsedvr
assert vsedvr.__file__.startswith(sys.argv[1])
files = sys.argv[2:]
sys.exit(pytest.main(["-q", "-m", "gpu", "-p", "no:cacheprovider", "--collect-only", *files]))
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code, str(tmp_path), *processes.gpu_test_files()]
    run = subprocess.run(command, timeout=300, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    assert "error" not in run.stdout


def test_no_test_for_a_gpu_is_left_out(request: pytest.FixtureRequest) -> None:
    """Of those that were collected in this run."""
    marked = {item.path.relative_to(ROOT).as_posix() for item in request.session.items if item.get_closest_marker("gpu")}
    files = processes.gpu_test_files()
    assert marked <= set(files)
    assert len(files) >= 9


def test_without_the_kernels_there_is_nothing_to_measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr("vsedvr.ops.cuda", SimpleNamespace(is_available=lambda device: False), raising=False)
    assert check.main([]) == 1
    assert "kernels, which cannot be used here" in capsys.readouterr().out


def test_all_of_it_on_a_cpu(report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is measured, checked and written; the figures themselves do not matter here."""
    monkeypatch.setattr("benchmarks.gpu.filter.find_spec", lambda name: None)

    def measure_all() -> bool:
        check.measure(report, tmp_path, CPU, 0, SMALL, ((16, 24),), ((22, 30),), ((16, 16),), times=2)
        return True

    path = check.run_steps(report, tmp_path, {"finished": measure_all})
    assert report["problems"] == []
    assert [row["channels"] for row in report["operator"]] == [64, 128]
    (network,), (whole,) = report["network"], report["filter"]
    assert network["size"] == "30x22"
    assert network["fps"].keys() == {"fp32", "fp16", "bf16", "plain fp16"}
    assert network["ratio"] == pytest.approx(network["fps"]["fp16"] / network["fps"]["plain fp16"])
    assert all(value > 40 for value in network["psnr"].values())
    assert whole["fps"].keys() == {"vsedvr"}

    assert path.name == "nvidia-test-4-80gb.md"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nvidia-test-4-80gb.json", "nvidia-test-4-80gb.md"]
    written = json.loads((tmp_path / "nvidia-test-4-80gb.json").read_text())
    assert written["network"][0]["fps"] == network["fps"]
    assert written["filter"][0]["ratio"] is None, "cccv was not there"
    text = path.read_text()
    assert text.startswith("# NVIDIA Test 4 (80GB)\n")
    for row in ("| 64 | 24x16 |", "| 128 | 24x16 |", "| small | 30x22 |", "| small | 30x22 | fp16 |", "| 16x16 |"):
        assert row in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert "nan" not in text
    assert "All answers are right." in text


def test_what_was_measured_before_it_ended_early_is_written(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written after each row, in case the machine is taken away, or a card fails, in the middle."""

    def gone(*given: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "network_row", gone)
    with pytest.raises(KeyboardInterrupt):
        check.measure(report, tmp_path, CPU, 0, SMALL, ((16, 24),), ((22, 30),), (), times=1)
    text = (tmp_path / "nvidia-test-4-80gb.md").read_text()
    assert "| 64 | 24x16 |" in text
    assert "| 128 | 24x16 |" in text
    assert "Not finished" in text
    assert "All answers are right" not in text
    written = json.loads((tmp_path / "nvidia-test-4-80gb.json").read_text())
    assert (len(written["operator"]), written["network"], written["finished"]) == (2, [], False)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if there were a GPU; what takes long is replaced."""
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test 5")
    cuda = SimpleNamespace(is_available=lambda device: True, capability=lambda device: (9, 0))
    monkeypatch.setattr("vsedvr.ops.cuda", cuda, raising=False)
    monkeypatch.setattr(check, "run_tests", lambda report, timeout, files=(): "3 passed" if files else "9 passed")
    monkeypatch.setattr(check, "run_sanitizer", lambda problems: problems.append("a race") or "racecheck ran")
    monkeypatch.setattr(network, "first_frame", lambda: {"kernels cached": 0.5})
    monkeypatch.setattr(dcn, "ceilings", lambda device: {"copy": 1e9, "matrix": 1e12})
    monkeypatch.setattr(check, "measure", lambda *given: None)


@pytest.mark.usefixtures("card")
def test_the_report_goes_where_the_environment_says(tmp_path: Path) -> None:
    assert check.main([]) == 1, "a race is a problem"
    text = (tmp_path / "test-5.md").read_text()
    assert "Inline PTX: 3 passed. Tests: 9 passed. Compute-sanitizer: racecheck ran." in text
    assert "- **a race**" in text
    assert "0.5 s (kernels cached)" in text
    assert "Not finished" not in text


@pytest.mark.usefixtures("card")
def test_a_step_that_fails_is_named_and_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    monkeypatch.setattr(check, "measure", fails)
    monkeypatch.setattr(network, "first_frame", fails)
    assert check.main([]) == 1
    text = (tmp_path / "test-5.md").read_text()
    assert "- **finished failed: RuntimeError: CUDA error: an illegal memory access**\n- **first_frame failed: " in text
    assert "Not finished" in text
    assert "Tests: 9 passed. Compute-sanitizer: racecheck ran." in text


@pytest.mark.usefixtures("card")
def test_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    monkeypatch.setattr(check, "measure", lambda *given: measured.extend(given))
    assert check.main(["--figures", "100"]) == 0
    assert measured[5:] == [check.SHORT_SIZES, check.SHORT_SIZES, ()]
    assert "Tests: not run yet" in (tmp_path / "test-5.md").read_text()


def test_wrong_answers_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.dcn
    monkeypatch.setattr(ops, "dcn", lambda *given: right(*given) * (1 if given[0].dtype == torch.float64 else 1.1))
    assert len(dcn.check_answers(64, CPU)) == 3
    monkeypatch.setattr(network, "plain_form", lambda model, lq: torch.full((3, 384, 512), 0.5))
    assert "differs from the plain form" in network.check_answers("small", SMALL["small"], CPU)[0]
    quality, memory = {"fp16": 54.0, "bf16": math.nan}, {"fp16": (3 << 20, 2 << 20), "bf16": (1, 1)}
    assert list(network.problems_of(quality, memory)) == [
        "fp16: 54.0 dB to fp32, at least 55 expected",
        "bf16: nan dB to fp32, at least 55 expected",
        "fp16: takes 3 MiB, at most 2 expected",
    ]


def test_what_a_card_has_no_memory_for_is_left_out(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = dcn.operands

    def operands(channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> dcn.Operands:
        if dtype == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return right(channels, height, width, dtype, device)

    monkeypatch.setattr(dcn, "operands", operands)
    row = dcn.operator_row(64, 8, 16, CPU, report["ceilings"], times=1, deadline=0)
    assert math.isnan(row["ms"]["fp32"])
    assert row["ms"]["bf16"] > 0
    report["operator"] = [row]
    assert "| 64 | 16x8 | out of memory | " in gpu_report.markdown(report)


def test_what_gains_too_little_is_named(report: dict[str, Any]) -> None:
    report["operator"] = [{"channels": 64, "size": "320x180", "ratio": 1.5}, {"channels": 128, "size": "320x180", "ratio": 1.8}]
    report["network"] = [{"model": "EDVR-M", "size": "320x180", "ratio": math.nan}]
    assert gpu_report.shortfalls(report) == ["operator against torchvision in fp16, 64 320x180: 1.5x, 1.7x expected"]
    report["kind"] = gpu_report.GEFORCE
    assert len(gpu_report.shortfalls(report)) == 2


def test_cards_are_told_apart_by_their_capability() -> None:
    names = {"V100": (7, 0), "A100": (8, 0), "H200": (9, 0), "B200": (10, 0)}
    assert {gpu_report.card_kind(capability) for capability in names.values()} == {gpu_report.DATA_CENTRE}
    names = {"RTX 2080": (7, 5), "RTX 3060": (8, 6), "RTX 4090": (8, 9), "RTX 5090": (12, 0)}
    assert {gpu_report.card_kind(capability) for capability in names.values()} == {gpu_report.GEFORCE}


def test_the_tests_for_a_gpu_are_found_and_run(report: dict[str, Any]) -> None:
    """They are skipped without one."""
    assert "skipped" in check.run_tests(report, 300, ["tests/ops/test_prims.py"]) or torch.cuda.is_available()
    assert report["problems"] == []


def test_tests_that_fail_are_problems_and_slow_ones_are_not(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [processes.Outcome("F\n1 failed in 2 s\n", 1), processes.Outcome("...", None)]
    monkeypatch.setattr(processes, "run", lambda command, timeout: outcomes.pop(0))
    assert check.run_tests(report, 1) == "1 failed in 2 s"
    assert check.run_tests(report, 1) == "not finished"
    assert report["problems"] == ["tests failed: `pytest -m gpu`"]


@pytest.mark.parametrize(("code", "state", "problems"), [(0, "ran", 0), (9, "ran", 2), (None, "not finished", 0)])
def test_the_sanitizer(monkeypatch: pytest.MonkeyPatch, code: int | None, state: str, problems: int) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(processes, "run", lambda command, timeout: processes.Outcome("", code))
    found: list[str] = []
    assert check.run_sanitizer(found) == f"memcheck {state}, racecheck {state}"
    assert len(found) == problems


def test_a_process_that_hangs_ends_with_all_that_it_started() -> None:
    """Its output up to then is kept. The pipe is closed only when nobody has it any more."""
    outcome = processes.run(["sh", "-c", "echo begun; sleep 600 & sleep 600"], timeout=0.5)
    assert outcome.code is None
    assert outcome.output in ("begun\n", ""), "the shell may not have come so far"
    assert not outcome.failed
    assert processes.run(["sh", "-c", "exit 3"], timeout=60) == processes.Outcome("", 3)
