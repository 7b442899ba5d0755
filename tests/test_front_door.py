import os
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
import vsedvr
assert "torch" not in sys.modules
vsedvr.load_model("small")
vsedvr.EDVR(vsedvr.EDVRConfig(num_feat=8))
assert "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_importing_the_package_changes_nothing_in_the_process() -> None:
    code = """
import logging, os, signal, sys, threading, warnings
import torch

def state():
    torch_settings = (
        torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(), torch.initial_seed(),
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.mkldnn.enabled,
    )
    loggers = {name: (logger.level, list(logger.handlers), logger.propagate)
        for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    root = logging.root.level, list(logging.root.handlers)
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    rest = list(warnings.filters), list(sys.path), threading.active_count()
    return dict(os.environ), torch_settings, loggers, root, signals, rest

before = state()
import vsedvr
assert state() == before
assert not [name for name in sys.modules if name.startswith("vsedvr.")]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("policy", [None, "ACTIVE"])
def test_the_filter_lets_threads_sleep_while_they_wait(policy: str | None) -> None:
    """The setting is made only if nobody has made it, and before torch is loaded."""
    code = """
import os, sys
import vsedvr
assert "torch" not in sys.modules
vsedvr.edvr
assert "torch" in sys.modules
print(os.environ["OMP_WAIT_POLICY"], vsedvr.filter.waiting.THREADS_SPIN)
"""
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    env |= {"OMP_WAIT_POLICY": policy} if policy else {}
    result = subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120, capture_output=True, text=True)
    assert result.stdout.split() == [policy or "PASSIVE", "False"]
    late = subprocess.run(
        [sys.executable, "-c", "import torch\n" + code.replace('assert "torch" not in sys.modules', "")],
        env=env,
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert late.stdout.split() == [policy or "PASSIVE", str(policy is None)]


@pytest.mark.parametrize(
    "first", ["vsedvr.restore", "import vsedvr.restore", "from vsedvr.restore.settings import RestoreSettings"]
)
def test_restore_is_called_by_its_name_whatever_was_imported_before(first: str) -> None:
    call = "vsedvr.restore('nothing.mkv', 'out.mkv')"
    code = f"import vsedvr\n{first}\ntry: {call}\nexcept FileNotFoundError as error: print(error)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "nothing.mkv" in result.stdout


def test_the_newest_changelog_entry_is_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == vsedvr.__version__
