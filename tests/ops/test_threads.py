"""The threads of the CPU kernels (kernels/threads.hpp): several callers, forks, and systems that give no threads."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vsedvr.ops import native

needs_kernel = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")

SETUP = """
import os, sys, threading
import torch
from vsedvr.ops import native

native.settings = lambda isa: (4, native.best_isa())  # four threads, however many cores there are
torch.manual_seed(0)
x = torch.rand(1, 16, 60, 70).contiguous(memory_format=torch.channels_last)
weight = torch.rand(16, 16, 3, 3)

def run():
    return native.conv3x3(x, weight, None)

def threads():
    return len(os.listdir("/proc/self/task"))
"""
"""Beginning of a program that calls the kernel on four threads."""


def run_program(text: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", SETUP + text]
    # PyTorch without OpenMP's threads, which GCC's library leaves unusable in the child of a fork
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, f"status {process.returncode}: {process.stderr}"
    return process.stdout.strip()


@needs_kernel
def test_several_callers_at_once_get_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = torch.randn(2, 32, 30, 41), torch.randn(32, 32, 3, 3) / 17, torch.randn(32)
    conv_offset_output = torch.randn(2, 108, 30, 41) * 3

    def run(_: int) -> tuple[Tensor, ...]:
        grads = native.dcn_backward(x, x, conv_offset_output, weight)
        return native.conv3x3(x, weight, bias), native.dcn(x, conv_offset_output, weight, bias, 0.1), *grads

    monkeypatch.setattr(native, "settings", lambda isa: (1, native.best_isa()))
    alone = run(0)
    monkeypatch.setattr(native, "settings", lambda isa: (4, native.best_isa()))
    with ThreadPoolExecutor(6) as callers:
        for together in callers.map(run, range(30)):
            assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux lists them")
def test_threads_are_made_once_for_all_callers() -> None:
    program = """
before = threads()
run()
assert threads() == before + 3, (before, threads())
callers = [threading.Thread(target=lambda: [run() for _ in range(20)]) for _ in range(4)]
for caller in callers: caller.start()
for caller in callers: caller.join()
print(threads() - before)
"""
    assert 3 <= int(run_program(program)) <= 3 + 4, "a caller that has just ended may still be listed"


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux lists them")
def test_the_child_of_a_fork_makes_its_own_threads() -> None:
    """The process is forked while other threads are in a call, as may happen if a script uses multiprocessing."""
    program = """
right = run()
stop = threading.Event()
def keep_calling():
    while not stop.is_set(): run()
callers = [threading.Thread(target=keep_calling) for _ in range(2)]
for caller in callers: caller.start()
statuses = set()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if threads() == 1 and torch.equal(run(), right) and threads() == 4 else 1)
    statuses.add(os.waitpid(child, 0)[1])
stop.set()
for caller in callers: caller.join()
print(statuses, torch.equal(run(), right))
"""
    assert run_program(program) == "{0} True"


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="limits the process as Linux does")
@pytest.mark.parametrize("made_before", [0, 2])
def test_a_system_that_gives_no_threads(made_before: int) -> None:
    """The call continues with the threads that exist."""
    program = f"""
import resource
if {made_before}:
    native.settings = lambda isa: ({made_before}, native.best_isa())
    run()
if os.getuid() == 0:
    try:
        os.setuid(65534)  # the limit is not for root
    except OSError:
        print("cannot"), sys.exit()
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
    print("cannot"), sys.exit()
except RuntimeError:
    pass
native.settings = lambda isa: (1, native.best_isa())
right = run()
native.settings = lambda isa: (4, native.best_isa())
print(all(torch.equal(run(), right) for _ in range(20)), threads())
"""
    output = run_program(program)
    if output == "cannot":
        pytest.skip("this system does not limit the number of threads")
    assert output == f"True {max(1, made_before)}"


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="limits the process as Linux does")
def test_no_memory_is_an_error_of_python() -> None:
    program = """
import resource
wide = torch.zeros(1024, 1024, 3, 3)
x = torch.zeros(1, 1024, 2, 2)
size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + (16 << 20), size + (16 << 20)))
try:
    native.conv3x3(x, wide, None)
except MemoryError as error:
    print(error)
"""
    assert run_program(program) == "out of memory in vsedvr_conv3x3_float32"


def test_no_thread_races_with_another(tmp_path: Path) -> None:
    """The kernels run as a program of their own, under ThreadSanitizer."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    program = tmp_path / "threads"
    flags = ["-O1", "-g", "-std=c++17", "-pthread", "-Wno-psabi", "-fsanitize=thread"]
    source = Path(__file__).parent / "threads_tsan.cpp"
    subprocess.run([compiler, *flags, source, "-o", program], check=True, timeout=300)
    env = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    result = subprocess.run([program], capture_output=True, text=True, timeout=300, env=env)
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("ThreadSanitizer does not run on this system")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "36 calls\n"
