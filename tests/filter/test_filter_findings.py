"""Checks of vspipe and of plugins. vspipe runs for real; its configuration is in a folder of the test."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import vapoursynth as vs

from vsedvr.filter import findings
from vsedvr.finding import Finding

CONFIGURE = "vapoursynth config"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Path of an empty configuration file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    return tmp_path / "vapoursynth/vapoursynth.toml"


def configure() -> None:
    subprocess.run([Path(sys.executable).parent / "vapoursynth", "config"], check=True, capture_output=True, timeout=60)


def test_vspipe_without_and_with_its_configuration(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "not configured: it does not know which Python to take"
    assert findings.vspipe() == Finding("vspipe", text, CONFIGURE, broken=True)
    assert not config.exists(), "a look changes nothing"
    configure()
    assert findings.vspipe() == Finding("vspipe", "runs scripts with this vsedvr")
    assert capfd.readouterr() == ("", "")


def test_a_configuration_for_a_python_that_is_gone(config: Path) -> None:
    configure()
    written = config.read_text()
    config.write_text(written.replace(sys.executable, "/nowhere/python").replace("libpython", "libnothing"))
    finding = findings.vspipe()
    assert finding.text.startswith("cannot run a script that imports vsedvr: ")
    assert (finding.advice, finding.broken) == (CONFIGURE, True)


@pytest.mark.parametrize(
    ("stderr", "status", "text"),
    [
        ("ModuleNotFoundError: No module named 'vsedvr'\n", 1, "cannot run a script that imports vsedvr: ModuleNotFoundError"),
        ("", 139, "cannot run a script that imports vsedvr: exit status 139"),
        ("/elsewhere/vsedvr/__init__.py\n", 0, "runs another vsedvr: /elsewhere/vsedvr/__init__.py"),
    ],
)
def test_vspipe_with_another_python(config: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, status: int, text: str) -> None:
    configure()
    result = SimpleNamespace(returncode=status, stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: result)
    finding = findings.vspipe()
    assert finding.text.startswith(text)
    assert (finding.advice, finding.broken) == (CONFIGURE, True)


def fake_core(monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> None:
    version = SimpleNamespace(major=3, minor=1)
    plugins = [SimpleNamespace(namespace=namespace, version=version, plugin_path=None) for namespace in namespaces]
    monkeypatch.setattr(findings, "vs", SimpleNamespace(core=SimpleNamespace(plugins=lambda: plugins)))


def test_source_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_core(monkeypatch, "std", "lsmas", "resize", "bs")
    assert findings.source_filters() == Finding("source filters", "BestSource 3.1, L-SMASH Works 3.1")
    fake_core(monkeypatch, "std", "resize")
    assert findings.source_filters() == Finding(
        "source filters", "none, so scripts cannot read files", "pip install vapoursynth-bestsource"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the suffix of Linux")
def test_a_plugin_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not findings.plugins().broken
    monkeypatch.setattr(vs, "get_plugin_dir", lambda: str(tmp_path))
    shutil.copy(Path(vs.__file__).with_name("libvsscript.so"), tmp_path / "libhelper.so")  # a library, but no plugin
    assert not findings.plugins().broken
    source = next(plugin.plugin_path for plugin in vs.core.plugins() if plugin.namespace == "bs")
    shutil.copy(source, tmp_path / "libbestsource.other.so")  # as plugins with a form for each processor have it
    assert not findings.plugins().broken
    (tmp_path / "libbroken.so").write_bytes(b"not a library")
    finding = findings.plugins()
    assert "libbroken.so" in finding.text
    assert "libhelper.so" not in finding.text
    assert (finding.advice, finding.broken) == ("install the plugin again, or remove its file", True)
