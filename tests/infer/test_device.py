import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.mark.parametrize(("asked", "got"), [("half", "'half'"), (["fp16"], r"\['fp16'\]"), (16, "16"), ({}, "{}")])
def test_unknown_precision(asked: str, got: str) -> None:
    with pytest.raises(ValueError, match=f"precision must be one of fp32, fp16, bf16, got {got}"):
        choose_precision(asked, CPU, exact_input=False)


@pytest.mark.parametrize(
    ("count", "index", "expected"),
    [
        (0, None, CPU),
        (0, -1, CPU),
        (2, None, GPU),
        (2, -1, CPU),
        (2, 1, torch.device("cuda", 1)),
        (2, np.int64(1), torch.device("cuda", 1)),
        (2, np.uint8(0), GPU),
        (0, np.int8(-1), CPU),
    ],
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


@pytest.mark.parametrize("index", [True, False, np.True_, 0.0, -1.0, "0", "cuda", [0], np.array([0, 1]), torch.device("cpu")])
@pytest.mark.parametrize("count", [0, 2])
def test_what_is_no_number_of_a_device(monkeypatch: pytest.MonkeyPatch, index: int, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match="device_index must be the number of a GPU, -1 for the CPU, or None, got "):
        choose_device(index)


USERS = [
    "pass",
    "backends.cudnn.benchmark = True",
    "backends.cudnn.deterministic = True",
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.set_float32_matmul_precision('highest')",
    "backends.cuda.matmul.allow_tf32 = True",
    "backends.cudnn.allow_tf32 = False",
    "backends.cudnn.allow_tf32 = False; torch.set_float32_matmul_precision('medium')",
    "backends.cudnn.conv.fp32_precision = 'ieee'",
    "backends.cudnn.conv.fp32_precision = backends.cudnn.rnn.fp32_precision = 'ieee'",
    "backends.cudnn.rnn.fp32_precision = 'ieee'",
    "backends.cudnn.fp32_precision = 'ieee'",
    "backends.cuda.matmul.fp32_precision = 'tf32'",
    "backends.cuda.matmul.fp32_precision = 'ieee'",
    "backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "backends.mkldnn.matmul.fp32_precision = 'tf32'",
    "backends.fp32_precision = 'tf32'",
    "backends.fp32_precision = 'ieee'",
    "backends.fp32_precision = 'tf32'; backends.cudnn.allow_tf32 = False",
]
"""Settings that a script or another filter may have made before, in PyTorch's old ways and its new one."""


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="settings stay as long as the process does")


def readings() -> list[Any]:
    """Returns all settings of PyTorch's arithmetic, asked for in every way, or the error if asking fails."""
    backends: Any = torch.backends
    old: list[Callable[[], Any]] = [
        lambda: backends.cudnn.allow_tf32,
        lambda: backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
    ]
    answers: list[Any] = [backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.deterministic]
    for owner in (backends, backends.cudnn, backends.mkldnn):
        answers.append(owner.fp32_precision)
        answers += [getattr(owner, kind).fp32_precision for kind in ("conv", "rnn", "matmul") if hasattr(owner, kind)]
    answers.append(backends.cuda.matmul.fp32_precision)
    for ask in old:
        try:
            answers.append(ask())
        except RuntimeError as error:
            answers.append(type(error))
    return answers


def ask_all() -> None:
    """Asks for settings in every way that another filter may use; fails if PyTorch does."""
    assert torch.backends.cudnn.allow_tf32 in (True, False)
    assert torch.backends.cuda.matmul.allow_tf32 in (True, False)
    assert torch.get_float32_matmul_precision()


def use_flags() -> None:
    """Changes settings for a block, as another filter may do."""
    for allow_tf32 in (True, False):
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=allow_tf32):
            assert torch.backends.cudnn.allow_tf32 == allow_tf32


def in_processes_of_their_own(scripts: list[str], code: str) -> None:
    """Runs the code after each script in a new process, because settings last as long as the process."""
    start = f"""
import contextlib, os, sys, threading, traceback, warnings
from concurrent.futures import ThreadPoolExecutor
import torch
from test_device import GPU, TestComputing, ask_all, readings, use_flags
from vsedvr.infer.device import computing
torch.cuda.device = lambda device: contextlib.nullcontext()
backends = torch.backends
DTYPES = torch.float32, torch.float16, torch.bfloat16

def run():
    {code.strip().replace(chr(10), chr(10) + "    ")}

warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork")
failed = False
for script in {scripts!r}:
    child = os.fork()
    if not child:
        try:
            exec(script)
            run()
        except BaseException:
            print("after", script, file=sys.stderr)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""
    command = [sys.executable, "-W", "error", "-c", start]
    done = subprocess.run(command, timeout=120, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestComputing:
    """Settings of PyTorch that exist without a GPU too; only the switch to the GPU is left out."""

    @pytest.fixture(autouse=True)
    def _without_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())

    @staticmethod
    def settings() -> tuple[bool, bool, str, str]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        conv = cudnn.conv  # type: ignore[attr-defined]
        return cudnn.benchmark, cudnn.deterministic, conv.fp32_precision, matmul.fp32_precision

    @forks
    def test_the_users_settings_come_back(self) -> None:
        """The user's settings come back, whatever they are. While a frame is computed, other threads can ask for settings."""
        in_processes_of_their_own(
            USERS,
            """
before = readings()
with ThreadPoolExecutor(1) as other:
    for dtype in DTYPES:
        precision = "ieee" if dtype == torch.float32 else "tf32"
        with contextlib.suppress(KeyError), computing(GPU, dtype):
            assert TestComputing.settings() == (False, True, precision, precision)
            assert backends.cudnn.rnn.fp32_precision == precision
            other.submit(ask_all).result()
            torch.nn.functional.conv2d(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 3, 3)) @ torch.rand(2, 2)
            assert TestComputing.settings() == (False, True, precision, precision)
            raise KeyError("an error on the way")
        assert readings() == before, (dtype, readings(), before)
""",
        )

    @forks
    def test_they_come_back_where_other_threads_use_flags_of_their_own(self) -> None:
        in_processes_of_their_own(
            ["pass", "torch.set_float32_matmul_precision('medium')", "backends.cudnn.allow_tf32 = False"],
            """
before = readings()
with ThreadPoolExecutor(1) as other:
    for dtype in DTYPES:
        with computing(GPU, dtype):
            other.submit(use_flags).result()
            other.submit(ask_all).result()
            conv, matmul = TestComputing.settings()[2:]
            assert (conv == "tf32") == (matmul == "tf32") == (dtype != torch.float32)
        assert readings() == before, (dtype, readings(), before)
""",
        )

    @forks
    def test_a_setting_that_comes_from_the_one_for_all_goes_on_doing_so(self) -> None:
        in_processes_of_their_own(
            ["backends.fp32_precision = 'tf32'"],
            """
for dtype in DTYPES:
    with computing(GPU, dtype):
        pass
backends.fp32_precision = "ieee"
assert backends.cuda.matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "ieee"
""",
        )

    @forks
    def test_what_another_thread_sets_meanwhile_stays(self) -> None:
        set_and_expected = {
            "backends.cudnn.benchmark = True": "backends.cudnn.benchmark",
            "backends.cudnn.deterministic = False": "not backends.cudnn.deterministic",
            "backends.cudnn.allow_tf32 = not backends.cudnn.allow_tf32": "backends.cudnn.allow_tf32 is not ours",
            "torch.set_float32_matmul_precision('medium')": "torch.get_float32_matmul_precision() == 'medium'",
            "backends.cudnn.conv.fp32_precision = 'tf32'; ours = None": "backends.cudnn.conv.fp32_precision == 'tf32'",
            "backends.mkldnn.matmul.fp32_precision = 'bf16'": "backends.mkldnn.matmul.fp32_precision == 'bf16'",
        }
        in_processes_of_their_own(
            [f"meanwhile, expected = {pair!r}" for pair in set_and_expected.items()],
            """
for dtype in DTYPES:
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.deterministic = backends.cudnn.benchmark = False
    with computing(GPU, dtype), ThreadPoolExecutor(1) as other:
        ours = backends.cudnn.allow_tf32
        other.submit(exec, meanwhile, globals()).result()
    assert eval(expected), (dtype, readings())
""",
        )

    @forks
    def test_other_threads_may_ask_at_any_time(self) -> None:
        """Threads may ask even between two steps of a change."""
        in_processes_of_their_own(
            ["pass", "torch.set_float32_matmul_precision('medium')", "backends.cudnn.allow_tf32 = False"],
            """
sys.setswitchinterval(1e-6)
stop = threading.Event()
def ask_on():
    while not stop.is_set():
        ask_all()
with ThreadPoolExecutor(2) as others:
    asking = [others.submit(ask_on) for _ in range(2)]
    try:
        for k in range(300):
            with computing(GPU, DTYPES[k % 3]):
                sum(range(100))
    finally:
        stop.set()
    for each in asking:
        each.result()
""",
        )

    def test_settings_that_are_right_are_not_touched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written: list[str] = []

        class Owner:
            """Replaces a setting of PyTorch, and records what is written to it."""

            def __init__(self, **values: object) -> None:
                self.__dict__.update(values)

            def __setattr__(self, name: str, value: object) -> None:
                written.append(name)

        right = "highest"
        monkeypatch.setattr(torch.backends, "cudnn", Owner(benchmark=False, deterministic=True, allow_tf32=False))
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: right)
        monkeypatch.setattr(torch, "set_float32_matmul_precision", written.append)
        monkeypatch.setattr("vsedvr.infer.settings._owners", lambda: tuple(Owner(fp32_precision="ieee") for _ in range(4)))
        with computing(GPU, torch.float32):
            pass
        assert written == []
        right = "high"
        with computing(GPU, torch.float32):
            pass
        assert written[0] == "highest"

    def test_threads_take_turns(self) -> None:
        """Otherwise the second thread would restore the settings that the first one has made."""
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
