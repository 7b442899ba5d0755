"""The short runs on a GPU, on a machine that has none, and with a CPU in its place."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import probe, processes, short
from cuda_runner import Runner, build
from vsedvr.model import EDVRConfig
from vsedvr.ops import cuda, cuda_dcn, native
from vsedvr.ops.bias_act import bias_act_cuda, bias_act_shuffle_cuda

SMALL = EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16)
CPU = torch.device("cpu")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize("run", short.RUNS)
def test_without_a_card_every_step_says_so_and_it_is_written(run: str, tmp_path: Path) -> None:
    env = {**os.environ, "OUT": str(tmp_path / "out"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu.short", run]
    done = subprocess.run(command, cwd=processes.ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("there is no card") == len(short.RUNS[run])
    results = json.loads((tmp_path / "out" / f"{run}.json").read_text())
    assert results == dict.fromkeys(short.RUNS[run], "there is no card")


def test_the_steps_start_what_there_is() -> None:
    files = [*short.OPERATORS, *short.ENGINE, "tests/ops/test_prims.py"]
    assert set(files) <= set(processes.gpu_test_files())
    for module in ("check", "probe", "dcn"):
        outcome = processes.run([sys.executable, "-m", f"benchmarks.gpu.{module}", "--help"], 60)
        assert outcome.code in (0, 1)
        assert "No module" not in outcome.output


@pytest.mark.usefixtures("card")
def test_all_steps_share_one_time_and_each_is_written(tmp_path: Path) -> None:
    """By a clock of its own: a step that takes longer than it may leaves less to those after it."""
    now = [0.0]
    given: list[float] = []

    def takes(seconds: float) -> Callable[[float, Path], Any]:
        def run(limit: float, path: Path) -> dict[str, float]:
            given.append(limit)
            known = json.loads((tmp_path / "first.json").read_text()) if len(given) > 1 else {}
            assert [key for key, value in known.items() if value != "not run yet"] == list(steps)[: len(given) - 1]
            now[0] += seconds
            return {"took": seconds}

        return run

    def fails(limit: float, path: Path) -> None:
        given.append(limit)
        raise OSError("no ncu")

    steps = {
        "a": short.Step(60, takes(20)),
        "b": short.Step(100, fails),
        "c": short.Step(100, takes(95)),
        "d": short.Step(50, takes(34.5)),
        "e": short.Step(50, takes(1)),
    }
    results = short.run_steps("first", steps, tmp_path, 150, lambda: now[0])
    assert given == [60, 100, 100, 35]
    assert results == {
        "a": {"took": 20},
        "b": "failed: OSError: no ncu",
        "c": {"took": 95},
        "d": {"took": 34.5},
        "e": "no time was left",
    }
    assert json.loads((tmp_path / "first.json").read_text()) == results


def test_each_run_keeps_within_its_time() -> None:
    """The first steps have their whole time; those at the end may get less."""
    for run, steps in short.RUNS.items():
        *all_but_last, _ = (step.limit for step in steps.values())
        assert sum(all_but_last) <= short.SECONDS[run] + 45, run
    assert short.SECONDS == {"first": 280, "second": 330}


@pytest.mark.usefixtures("card")
def test_what_processes_write_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [processes.Outcome("F\n1 failed in 2 s\n", 1), processes.Outcome("some", None), processes.Outcome("", 0)]
    monkeypatch.setattr(processes, "run", lambda command, timeout: outcomes.pop(0))
    steps = {name: short.Step(60, short.tests()) for name in "abc"}
    results = short.run_steps("second", steps, tmp_path, 1000)
    assert results == {"a": "exit 1: 1 failed in 2 s", "b": "not finished", "c": "no output"}
    assert [(tmp_path / f"second-{name}.txt").read_text() for name in "abc"] == ["F\n1 failed in 2 s\n", "some", ""]


@pytest.mark.parametrize("section", probe.SECTIONS)
def test_each_section_of_the_probe_works(section: str, tmp_path: Path) -> None:
    """On a CPU, with small pictures; what the figures are does not matter here."""
    place = probe.Place(CPU, ((16, 24), (20, 20)), SMALL, times=1)
    assert probe.run_sections([section], place, tmp_path / "probe.json") == 0
    figures = json.loads((tmp_path / "probe.json").read_text())[section]
    numbers = [value for value in _leaves(figures) if isinstance(value, float)]
    assert numbers
    assert all(number >= 0 for number in numbers)
    if section == "graph":
        assert all(row["equals eager"] for row in figures.values())


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    kernels = [f"{kind}_float16_float16_64_8" for kind in ("mma", "registers", "half2")]
    kernels += ["any_float16_float16", "bias_act_float16", "bias_act_shuffle_float16"]
    return build(tmp_path_factory.mktemp("probe"), kernels)


@pytest.mark.parametrize("section", ["operator", "frame", "graph", "convolution"])
def test_the_sections_launch_the_kernels_for_gpus(
    section: str, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In float16, as on a card, with the kernels' own text on the CPU."""
    monkeypatch.setattr(native, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: (9, 0))
    for name, function in (
        ("dcn", cuda_dcn.forward),
        ("bias_act_", bias_act_cuda),
        ("bias_act_shuffle", bias_act_shuffle_cuda),
    ):
        monkeypatch.setattr(torch.ops.vsedvr, name, function, raising=False)
    for room in ("ops", "ops.dcn", "model.blocks", "model.pcd"):
        monkeypatch.setattr(sys.modules[f"vsedvr.{room}"], "runs_bias_act", lambda x: True)
    place = probe.Place(CPU, ((16, 24),), SMALL, times=1)
    place.dtype = torch.float16
    runner.launched.clear()
    assert probe.run_sections([section], place, tmp_path / "probe.json") == 0
    figures = json.loads((tmp_path / "probe.json").read_text())[section]["24x16"]
    launched = set(runner.launched)
    if section == "operator":
        assert launched == {f"{kind}_float16_float16_64_8" for kind in ("mma", "registers", "half2")}
        assert all(figures[f"difference over rms, {kind}"] < 5e-3 for kind in ("registers", "half2"))
        assert cuda_dcn.OPERATOR == "mma"
    elif section == "convolution":
        assert launched == {"bias_act_float16"}
        assert figures["bias, LeakyReLU by our kernel"] > 0
    else:
        assert launched == {"any_float16_float16", "bias_act_float16", "bias_act_shuffle_float16"}


BARE = ("vapoursynth", "cccv", "torchvision", "psutil", "safetensors", "av", "skimage", "PIL", "rich", "cv2")


def test_everything_runs_with_torch_and_pytest_alone(tmp_path: Path) -> None:
    """The probe, the figures and their report, on a CPU, from a copy of the checkout that is not installed or compiled.

    Replaced are the plain form, which needs torchvision, and the free memory, which a GPU tells itself.
    """
    for name in ("vsedvr", "kernels", "benchmarks"):
        shutil.copytree(processes.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "*.dll", "__pycache__"))
    code = f"""
import sys
sys.path.insert(0, sys.argv[1])
sys.modules.update(dict.fromkeys({BARE!r}))
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from pathlib import Path
import torch, vsedvr
from vsedvr.infer import host_memory
from benchmarks.gpu import check, dcn, network, probe, report
from vsedvr.model import EDVRConfig
assert vsedvr.__file__.startswith(sys.argv[1])
cpu, out = torch.device("cpu"), Path(sys.argv[1]) / "out"
small = EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16)
host_memory.free_host_bytes = lambda: 1 << 34
assert probe.run_sections(list(probe.SECTIONS), probe.Place(cpu, ((16, 24),), small, times=1), out / "probe.json") == 0
network.plain_form = lambda model, lq: model(lq[None])[0]
made = check.new_report("Card", report.DATA_CENTRE)
made["ceilings"] = dcn.ceilings(cpu, nbytes=1 << 16, side=32)

def measure():
    check.measure(made, out, cpu, 0, {{"small": small}}, ((16, 24),), ((24, 32),), (), times=1)
    return True

path = check.run_steps(made, out, {{"finished": measure}})
assert made["problems"] == [], made["problems"]
assert "All answers are right." in path.read_text()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["card.json", "card.md", "probe.json"]


def test_a_section_that_fails_ends_its_process_and_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(place: probe.Place, height: int, width: int) -> None:
        raise RuntimeError("illegal memory access")

    sections: dict[str, Any] = {"good": lambda *given: {"ms": 1}, "bad": fails, "more": lambda *given: {"ms": 2}}
    monkeypatch.setattr(probe, "SECTIONS", sections)
    place = probe.Place(CPU, ((16, 24),), SMALL)
    assert probe.run_sections(list(sections), place, tmp_path / "probe.json") == 1
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written == {"good": {"24x16": {"ms": 1}}, "bad": {"failed": "RuntimeError: illegal memory access"}}


def test_after_a_section_that_fails_the_others_run_in_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails as it says, one that takes its process with it before it wrote anything, one that does not end."""
    monkeypatch.setattr(short, "SECTIONS", dict.fromkeys("abcde"))
    asked: list[list[str]] = []

    def run(command: list[str], timeout: float) -> processes.Outcome:
        sections = command[command.index("--sections") + 1 :]
        asked.append(sections)
        output = Path(command[command.index("--output") + 1])
        if len(asked) == 1:
            output.write_text(json.dumps({"a": {"ms": 1}, "b": {"failed": "RuntimeError"}}))
        if len(asked) == 3:
            output.write_text(json.dumps({"d": {"ms": 2}}))
            return processes.Outcome("hangs", None)
        return processes.Outcome("", 1) if len(asked) == 1 else processes.Outcome("Segmentation fault", -11)

    monkeypatch.setattr(processes, "run", run)
    found = short.probe(1000, tmp_path / "first-probe")
    assert asked == [["a", "b", "c", "d", "e"], ["c", "d", "e"], ["d", "e"]]
    assert found == {
        "a": {"ms": 1},
        "b": {"failed": "RuntimeError"},
        "c": {"failed": "Segmentation fault"},
        "d": {"ms": 2},
        "e": "not finished",
    }
