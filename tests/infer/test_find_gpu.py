"""Reasons why there is no GPU, with the command that solves the problem, on simulated machines."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vsedvr.finding import Finding
from vsedvr.infer import choose_device, find_gpu

DRIVER = "for an NVIDIA card, install its driver: https://www.nvidia.com/drivers"
PYTORCH = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/"


@pytest.fixture
def torch_for(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes torch look like one for a version of CUDA, or for CPUs, that finds no GPU."""

    def arrange(cuda: str | None, problem: str = "") -> None:
        def init() -> None:
            if problem:
                raise RuntimeError(problem)

        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch, "__version__", "2.11.0")
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(sys, "platform", "linux")

    return arrange


@pytest.mark.parametrize(
    ("driver", "text", "advice"),
    [
        (None, "and there is no NVIDIA driver", f"{DRIVER}; then: {PYTORCH}cu130"),
        (13, "but there is an NVIDIA driver", f"{PYTORCH}cu130"),
        (12, "but there is an NVIDIA driver", f"{PYTORCH}cu126"),
    ],
)
def test_torch_for_cpus(torch_for: Any, monkeypatch: pytest.MonkeyPatch, driver: int | None, text: str, advice: str) -> None:
    torch_for(None)
    monkeypatch.setattr(find_gpu, "_driver_cuda", lambda: driver)
    assert find_gpu.no_gpu() == Finding("GPU", f"none: PyTorch 2.11.0 is for CPUs only, {text}", advice)


def test_a_mac_misses_nothing(torch_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for(None)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert find_gpu.no_gpu().advice == ""


def test_no_driver(torch_for: Any) -> None:
    torch_for("13.0", "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    assert find_gpu.no_gpu() == Finding("GPU", "none: there is no NVIDIA driver", DRIVER)


def test_the_error_for_a_gpu_that_is_not_there_has_the_reason(torch_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for("13.0", "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"0 asks for a GPU, but CUDA is not available \(there is no NVIDIA driver; .*; -1 is"):
        choose_device(0)


def test_an_old_driver(torch_for: Any) -> None:
    torch_for("13.0", "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver")
    finding = find_gpu.no_gpu()
    assert finding.text == "none: the driver is too old for PyTorch 2.11.0"
    assert finding.advice == (
        f"update the driver: https://www.nvidia.com/drivers; or take PyTorch for an older CUDA: {PYTORCH}cu126"
    )
    assert finding.broken


def test_cards_that_are_hidden(torch_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_for("13.0", "No CUDA GPUs are available")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = find_gpu.no_gpu()
    assert finding.text == "none: CUDA_VISIBLE_DEVICES is ''"
    assert finding.advice == "unset the environment variable CUDA_VISIBLE_DEVICES, or set it to the number of a card"


def test_what_nobody_foresaw_is_passed_on(torch_for: Any) -> None:
    torch_for("13.0", "CUDA unknown error\nand more")
    finding = find_gpu.no_gpu()
    assert (finding.text, finding.broken) == ("none: CUDA unknown error", True)


@pytest.mark.parametrize(("capability", "broken"), [((6, 1), True), ((7, 5), False), ((12, 0), False)])
def test_a_card_that_torch_has_no_code_for(
    torch_for: Any, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], broken: bool
) -> None:
    torch_for("13.0")
    card = SimpleNamespace(name="GeForce", total_memory=8 << 30, major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a", "sm_120", "compute_120"])
    finding = find_gpu.gpu(0)
    assert finding.text.startswith(f"GeForce, 8 GiB, compute capability {capability[0]}.{capability[1]}")
    assert finding.broken == broken
    assert finding.advice == (f"{PYTORCH}cu126" if broken else "")


def test_the_reason_here() -> None:
    """The reason must make sense on any machine that runs the test."""
    if torch.cuda.is_available():
        assert not find_gpu.gpu(0).broken
    else:
        assert find_gpu.no_gpu().text.startswith("none: ")
