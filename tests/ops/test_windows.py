"""The CPU kernels on Windows, as far as Linux can test them: built by mingw-w64's cross compiler, run under Wine."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COMPILER = shutil.which("x86_64-w64-mingw32-g++-posix")
WINE = shutil.which("wine64") or shutil.which("wine")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no g++ for Windows (Debian: g++-mingw-w64-x86-64-posix)"),
    pytest.mark.skipif(WINE is None, reason="no Wine (Debian: wine wine64)"),
]

GCC_FLAGS = ["-static", "-Wa,-muse-unaligned-vector-move"]
"""Flags that GCC for Windows needs besides those of pyproject.toml: it does not align the stack for AVX, and users do not have
its own libraries."""

LOADER = """
#include <windows.h>

int main(int, char** arguments) {
    const HMODULE library = LoadLibraryA(arguments[1]);
    if (!library) return 1;
    const char* names[] = {"vsedvr_dcn_float32", "vsedvr_dcn_bfloat16", "vsedvr_dcn_backward_float32",
                           "vsedvr_conv3x3_float32", "vsedvr_conv3x3_packed_floats", "vsedvr_conv3x3_pack",
                           "vsedvr_conv3x3_packed_float32", "vsedvr_interface", "PyInit__kernels"};
    for (const char* name : names)
        if (!GetProcAddress(library, name)) return 2;
    const FARPROC best_isa = GetProcAddress(library, "vsedvr_best_isa");
    return best_isa && best_isa() >= 0 ? 0 : 3;
}
"""
"""Program that loads the library as Python does, and looks up all the functions that Python calls."""


def flags_of_the_package() -> tuple[list[Path], list[str]]:
    """Returns source files and compiler flags of the extension."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        (extension,) = tomllib.load(file)["tool"]["setuptools"]["ext-modules"]
    return [ROOT / source for source in extension["sources"]], extension["extra-compile-args"]


def build(target: Path, *arguments: str | Path) -> Path:
    assert COMPILER is not None
    flags = [*flags_of_the_package()[1], *GCC_FLAGS]
    subprocess.run([COMPILER, *flags, *arguments, "-o", target], check=True, timeout=300)
    return target


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Makes an environment for Wine, with its own Windows folder and without browser, .NET and menus; ends it afterwards."""
    home = str(tmp_path_factory.mktemp("wine"))
    overrides = "mscoree=;mshtml=;winemenubuilder.exe=d"
    env = {**os.environ, "HOME": home, "WINEPREFIX": f"{home}/prefix", "WINEDEBUG": "-all", "WINEDLLOVERRIDES": overrides}
    env.pop("DISPLAY", None)
    yield env
    if shutil.which("wineserver"):
        subprocess.run(["wineserver", "-k"], env=env, timeout=60, check=False)


def run(wine: dict[str, str], *command: str | Path) -> str:
    assert WINE is not None
    result = subprocess.run([WINE, *command], env=wine, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"status {result.returncode}: {result.stdout} {result.stderr}"
    return result.stdout


@pytest.mark.parametrize(
    ("program", "least"),
    [("conv3x3_asan", 28), ("conv_direct_asan", 24), ("deform_conv_asan", 96), ("threads_tsan", 36)],
    ids=lambda value: str(value),
)
def test_the_self_checks_run(tmp_path: Path, wine: dict[str, str], program: str, least: int) -> None:
    """The programs run with every instruction set that this processor has, and with several callers at once."""
    assert int(run(wine, build(tmp_path / "check.exe", HERE / f"{program}.cpp")).split()[0]) >= least


def test_the_library_of_the_package_loads(tmp_path: Path, wine: dict[str, str]) -> None:
    (tmp_path / "loader.cpp").write_text(LOADER)
    library = build(tmp_path / "_kernels.pyd", "-shared", *flags_of_the_package()[0])
    run(wine, build(tmp_path / "loader.exe", tmp_path / "loader.cpp"), f"Z:{library}")
