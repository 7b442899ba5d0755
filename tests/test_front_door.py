import re
import subprocess
import sys
from pathlib import Path

import pytest

import vsedvr

ROOT = Path(__file__).parent.parent


def test_all_public_names_exist() -> None:
    assert sorted(vsedvr.__all__) == vsedvr.__all__
    for name in vsedvr.__all__:
        assert getattr(vsedvr, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'edwr'"):
        vsedvr.edwr  # noqa: B018


def test_the_network_needs_no_vapoursynth_and_the_package_loads_nothing_before_it_is_used() -> None:
    code = """
import sys
sys.modules["vapoursynth"] = None
import os
os.environ.pop("OMP_WAIT_POLICY", None)
import vsedvr
assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
assert "torch" not in sys.modules
vsedvr.load_model("small")
vsedvr.EDVR(vsedvr.EDVRConfig(num_feat=8))
assert "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("first", ["vsedvr.restore", "import vsedvr.restore", "from vsedvr.restore.settings import Settings"])
def test_restore_is_called_by_its_name_whatever_was_imported_before(first: str) -> None:
    call = "vsedvr.restore('nothing.mkv', 'out.mkv')"
    code = f"import vsedvr\n{first}\ntry: {call}\nexcept FileNotFoundError as error: print(error)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "nothing.mkv" in result.stdout


def test_the_newest_changelog_entry_is_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == vsedvr.__version__
