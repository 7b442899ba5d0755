import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from vsedvr.infer import choose_device, choose_precision
from vsedvr.infer.device import computing

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "device", "exact_input", "expected"),
    [
        (None, CPU, True, torch.float32),
        (None, CPU, False, torch.float32),
        (None, GPU, True, torch.float32),
        (None, GPU, False, torch.float16),
        ("fp32", GPU, False, torch.float32),
        ("fp16", GPU, True, torch.float16),
        ("bf16", GPU, True, torch.bfloat16),
        ("fp32", CPU, False, torch.float32),
    ],
)
def test_precision(asked: str | None, device: torch.device, exact_input: bool, expected: torch.dtype) -> None:
    assert choose_precision(asked, device, exact_input) == expected


@pytest.mark.parametrize(("amx", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_on_a_cpu_needs_amx(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision("bf16", CPU, exact_input=False) == expected
    assert len(caplog.records) == (0 if amx else 1)


def test_fp16_on_a_cpu_is_fp32_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_precision("fp16", CPU, exact_input=False) == torch.float32
    assert [record.getMessage() for record in caplog.records] == [
        "precision fp16 is slower than fp32 on a CPU; computing in fp32"
    ]


def test_unknown_precision() -> None:
    with pytest.raises(ValueError, match="precision must be one of fp32, fp16, bf16, got 'half'"):
        choose_precision("half", CPU, exact_input=False)


@pytest.mark.parametrize(
    ("count", "index", "expected"),
    [(0, None, CPU), (0, -1, CPU), (2, None, GPU), (2, -1, CPU), (2, 1, torch.device("cuda", 1))],
)
def test_device(monkeypatch: pytest.MonkeyPatch, count: int, index: int | None, expected: torch.device) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert choose_device(index) == expected


@pytest.mark.parametrize(
    ("count", "index", "message"),
    [
        (0, 0, "device_index 0 asks for a GPU, but CUDA is not available"),
        (2, 2, r"device_index must be within 0\.\.1, or -1 for the CPU, got 2"),
        (2, -2, "got -2"),
    ],
)
def test_no_such_device(monkeypatch: pytest.MonkeyPatch, count: int, index: int, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=message):
        choose_device(index)


class TestComputing:
    """Settings of PyTorch's that exist without a GPU as well; only the switch to the GPU is left out."""

    @pytest.fixture(autouse=True)
    def _without_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())

    @staticmethod
    def settings() -> tuple[bool, bool, str, str]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        conv = cudnn.conv  # type: ignore[attr-defined]
        return cudnn.benchmark, cudnn.deterministic, conv.fp32_precision, matmul.fp32_precision

    @pytest.mark.parametrize(
        "script",
        [
            "pass",
            "torch.backends.cudnn.benchmark = True",
            "torch.set_float32_matmul_precision('high')",
            "torch.backends.cudnn.allow_tf32 = False",
            "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
            "torch.backends.fp32_precision = 'tf32'",
        ],
    )
    def test_the_users_settings_come_back(self, script: str) -> None:
        """Whatever they are and whichever of PyTorch's two ways they were made in; in a process of its own, for they stay."""
        code = f"""
import contextlib, torch
from test_device import TestComputing
from vsedvr.infer.device import computing
torch.cuda.device = lambda device: contextlib.nullcontext()
{script}
before = TestComputing.settings()
for dtype, precision in ((torch.float32, "ieee"), (torch.float16, "tf32"), (torch.bfloat16, "tf32")):
    with contextlib.suppress(KeyError), computing(torch.device("cuda", 0), dtype):
        assert TestComputing.settings() == (False, True, precision, precision)
        torch.nn.functional.conv2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 3, 3)) @ torch.rand(2, 2)
        raise KeyError("an error on the way")
    assert TestComputing.settings() == before
"""
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120, cwd=Path(__file__).parent)

    def test_threads_take_turns(self) -> None:
        """Else the second would restore what the first has set."""
        before, interval = self.settings(), sys.getswitchinterval()
        torch.backends.cudnn.benchmark = True
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                inside = list(pool.map(self.enter, [torch.float32, torch.float16] * 200))
            assert inside == [(False, True, "ieee", "ieee"), (False, True, "tf32", "tf32")] * 200
            assert torch.backends.cudnn.benchmark
        finally:
            sys.setswitchinterval(interval)
            torch.backends.cudnn.benchmark = before[0]
        assert self.settings() == before

    def enter(self, dtype: torch.dtype) -> tuple[bool, bool, str, str]:
        with computing(GPU, dtype):
            sum(range(1000))
            return self.settings()

    def test_an_engine_may_feed_another(self) -> None:
        before = self.settings()
        with computing(GPU, torch.float32):
            assert self.enter(torch.float16) == (False, True, "tf32", "tf32")
            assert self.settings() == (False, True, "ieee", "ieee")
        assert self.settings() == before

    def test_nothing_changes_for_a_cpu(self) -> None:
        before = self.settings()
        with computing(CPU, torch.float32), computing(CPU, torch.float32):
            assert self.settings() == before
