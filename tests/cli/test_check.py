"""`vsedvr check` as a whole; the checks of each sub-package have tests of their own."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import vapoursynth as vs

from vsedvr.cli import check, main
from vsedvr.filter import findings as filter_findings
from vsedvr.filter import trial as trials
from vsedvr.finding import Finding, reinstall_line
from vsedvr.ops import native
from vsedvr.weights import EMBEDDED, zoo
from vsedvr.weights import findings as weights_findings


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Configures vspipe in a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    program = Path(sys.executable).parent / "vapoursynth"
    subprocess.run([program, "config"], check=True, capture_output=True, timeout=60)


def findings_of(capsys: pytest.CaptureFixture[str], status: int) -> dict[str, Finding]:
    assert main(["check", "--json"]) == status
    content = json.loads(capsys.readouterr().out)
    assert content["works"] == (status == 0)
    return {finding["name"]: Finding(**finding) for finding in content["findings"]}


@pytest.mark.usefixtures("configured")
def test_this_machine_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[-1] == "All that is installed works."
    for name in ("vsedvr", "Python", "torch", "processor", "CuPy", "source filters", "vspipe", "embedded models", "runs on"):
        assert any(re.match(rf"(ok|note) +{name} ", line) for line in lines), name
    (tile,) = (line for line in lines if "1280x720 on cpu" in line)
    assert all(name in tile for name in EMBEDDED)
    (frames,) = (line for line in lines if "5 frames on cpu" in line)
    assert "restored as they must be" in frames
    assert "BROKEN" not in out


def test_several_things_are_broken_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem is found and has its own advice. Here vspipe has no configuration, and a model is damaged."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    original = zoo.embedded_file

    def harmed(name: str) -> Path:
        if name != "compression":
            return original(name)
        file = tmp_path / "compression.safetensors"
        file.write_bytes(original(name).read_bytes()[:-100])
        return file

    monkeypatch.setattr(zoo, "embedded_file", harmed)
    monkeypatch.setattr(weights_findings, "embedded_file", harmed)
    monkeypatch.setattr(native, "LIBRARY", None)
    core = SimpleNamespace(plugins=list, std=SimpleNamespace(LoadPlugin=str))
    without_plugins = SimpleNamespace(**{**vars(vs), "core": core})
    monkeypatch.setattr(filter_findings, "vs", without_plugins)
    found = findings_of(capsys, status=1)
    assert found["vspipe"].advice == "vapoursynth config"
    assert found["embedded models"].text == "compression is damaged or was changed"
    assert found["embedded models"].advice == reinstall_line()
    assert found["kernels for CPUs"].advice == f"install g++ or clang, then: {reinstall_line()}"
    assert found["source filters"].advice == "pip install vapoursynth-bestsource"
    assert found["5 frames on cpu"].text.startswith("compression stops with an error: edvr: ")
    broken = [name for name, finding in found.items() if finding.broken]
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"vsedvr check: installed and not working: {', '.join(broken)}"
    assert "BROKEN  vspipe " in out
    assert "-> vapoursynth config\n" in out
    assert "All that is installed works." not in out


def fail() -> list[Finding]:
    raise OSError("[WinError 126] Error loading c10.dll\nmore")


def test_nothing_else_is_looked_at_where_torch_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = [(name, fail if name == "PyTorch" else look, advice) for name, look, advice in check.LOOKS]
    monkeypatch.setattr(check, "LOOKS", looks)
    found = findings_of(capsys, status=1)
    assert list(found)[-1] == "PyTorch"
    assert found["PyTorch"] == Finding(
        "PyTorch",
        "cannot be looked at (OSError: [WinError 126] Error loading c10.dll)",
        "pip install --force-reinstall torch torchvision",
        broken=True,
    )


@pytest.mark.usefixtures("configured")
def test_a_look_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(trials, "trial", lambda index: Finding("5 frames on cpu", "restored"))
    monkeypatch.setattr(filter_findings, "plugins", fail)
    found = findings_of(capsys, status=1)
    assert found["VapourSynth"].advice == "pip install --force-reinstall --no-deps vapoursynth"
    assert "c10.dll" in found["VapourSynth"].text
    assert found["5 frames on cpu"].text == "restored"
