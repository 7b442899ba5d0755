"""Checks VapourSynth: whether vspipe is configured, which source filters are installed, which plugins fail to load."""

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import vapoursynth as vs

from vsedvr.finding import Finding

__all__ = ["plugins", "source_filters", "vspipe"]

SOURCES = {
    "bs": "BestSource",
    "lsmas": "L-SMASH Works",
    "ffms2": "FFMS2",
    "dgdecodenv": "DGDecNV",
    "d2v": "D2V Source",
    "avisource": "AVISource",
    "imwri": "ImageMagick reader",
}
"""Names of the VapourSynth plugins that read video files. The keys are their namespaces in vapoursynth.core."""

SCRIPT = """
import sys
import vapoursynth
import vsedvr
print(vsedvr.__file__, file=sys.stderr)
vapoursynth.core.std.BlankClip(length=1, keep=True).set_output()
"""
CONFIGURE = "vapoursynth config"


def plugins() -> Finding:
    """Counts the loaded plugins, and lists files in VapourSynth's plugin folder that it cannot load."""
    loaded = {Path(plugin.plugin_path).resolve() for plugin in vs.core.plugins() if plugin.plugin_path}
    suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
    problems = []
    for file in sorted(Path(vs.get_plugin_dir()).rglob(f"*{suffix}")):
        if file.resolve() in loaded:
            continue
        try:
            vs.core.std.LoadPlugin(str(file))
        except vs.Error as error:
            # no plugin: a library that plugins need; loaded already: a form of a plugin for another processor
            if not any(sign in str(error).lower() for sign in ("entry point", "already loaded")):
                problems.append(str(error))
    if problems:
        return Finding("plugins", "; ".join(problems), "install the plugin again, or remove its file", broken=True)
    return Finding("plugins", ", ".join(sorted(plugin.namespace for plugin in vs.core.plugins())))


def source_filters() -> Finding:
    """Lists the installed plugins that read files, with their versions."""
    found = {plugin.namespace: plugin.version for plugin in vs.core.plugins()}
    names = [f"{name} {found[space].major}.{found[space].minor}" for space, name in SOURCES.items() if space in found]
    if not names:
        return Finding("source filters", "none, so scripts cannot read files", "pip install vapoursynth-bestsource")
    return Finding("source filters", ", ".join(names))


def vspipe() -> Finding:
    """Tells whether vspipe finds this vsedvr: checks VapourSynth's configuration, then runs a small script."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        vs.vapoursynth_check_env()
    if "NOT CONFIGURED" in said.getvalue():
        return Finding("vspipe", "not configured: it does not know which Python to take", CONFIGURE, broken=True)
    program = Path(vs.__file__).with_name("vspipe.exe" if sys.platform == "win32" else "vspipe")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "check.vpy"
        script.write_text(SCRIPT)
        command = [str(program), "--info", str(script), "-"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
        except (OSError, subprocess.TimeoutExpired) as error:
            advice = "pip install --force-reinstall --no-deps vapoursynth"
            return Finding("vspipe", f"does not run ({error})", advice, broken=True)
    lines = [line for line in result.stderr.splitlines() if line.strip()] or [f"exit status {result.returncode}"]
    if result.returncode:
        return Finding("vspipe", f"cannot run a script that imports vsedvr: {lines[-1]}", CONFIGURE, broken=True)
    if str(Path(__file__).parents[1] / "__init__.py") not in lines:
        return Finding("vspipe", f"runs another vsedvr: {lines[-1]}", CONFIGURE, broken=True)
    return Finding("vspipe", "runs scripts with this vsedvr")
