import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from conftest import Vspipe
from vsedvr.filter.compute import compute

CPU = torch.device("cpu")


def test_all_calls_for_a_device_run_in_one_thread_of_their_own() -> None:
    with ThreadPoolExecutor(8) as pool:
        threads = set(pool.map(lambda k: compute(CPU, threading.get_ident), range(64)))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert compute(torch.device("meta"), threading.get_ident) not in threads


def test_results_arguments_and_errors_pass() -> None:
    assert compute(CPU, divmod, 17, 5) == (3, 2)
    assert compute(CPU, sorted, [2, 3, 1], reverse=True) == [3, 2, 1]
    with pytest.raises(KeyError, match="gone"):
        compute(CPU, dict[str, int]().__getitem__, "gone")
    assert compute(CPU, abs, -1) == 1, "an error ends nothing"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_and_at_the_end_of_the_process() -> None:
    code = """
        import os, torch
        from vsedvr.filter.compute import compute
        cpu = torch.device("cpu")
        assert compute(cpu, abs, -1) == 1
        child = os.fork()
        if child == 0:
            os._exit(compute(cpu, abs, -7))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert compute(cpu, abs, -2) == 2
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)


THREADS = """
import os
import sys
import numpy as np
import vapoursynth as vs
import vsedvr
core = vs.core
core.num_threads = 16
blank = core.std.BlankClip(format=vs.RGBS, width=96, height=96, length=60)

def noise(n, f):
    out = f.copy()
    for plane in range(3):
        np.asarray(out[plane])[:] = np.random.default_rng(3 * n + plane).random((96, 96))
    return out

clip = blank.std.ModifyFrame(blank, noise)
for _ in range(2):
    clip = vsedvr.edvr(clip, {model!r}, device_index=-1)

def count(n, f):
    print("threads", len(os.listdir("/proc/self/task")), file=sys.stderr)
    return f

clip = clip.std.ModifyFrame(clip, count)
clip.set_output()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("cores", [1, 4])
def test_threads_do_not_grow_with_those_of_vapoursynth(
    vspipe: Vspipe, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """There are VapourSynth's 16 threads, ours, one pool of OpenMP, one of the kernels and a few of vspipe, not 16 * cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    result = vspipe(THREADS.format(model=str(tiny_x1)), "-r", "16")
    assert result.returncode == 0, result.stderr.decode()
    threads = [int(line.split()[1]) for line in result.stderr.splitlines() if line.startswith(b"threads")]
    assert len(threads) == 60
    assert max(threads) <= 16 + 1 + 2 * (cores - 1) + 6


def test_scripts_can_be_evaluated_again_in_one_process(tiny_x1: Path) -> None:
    """Previewers evaluate a script again in a new environment, and destroy the old one."""
    code = f"""
        import gc
        import vapoursynth as vs

        class Policy(vs.EnvironmentPolicy):
            current = None
            def on_policy_registered(self, api): self.api = api
            def on_policy_cleared(self): self.current = None
            def get_current_environment(self): return self.current
            def set_environment(self, environment):
                old, self.current = self.current, environment
                return old

        policy = Policy()
        vs.register_policy(policy)
        for _ in range(3):
            environment = policy.api.create_environment()
            policy.set_environment(environment)
            import vsedvr
            clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=5)
            clip = vsedvr.edvr(clip, {str(tiny_x1)!r}, matrix="709")
            clip.set_output()
            assert len(list(clip.frames())) == 5
            vs.clear_outputs()
            del clip
            gc.collect()
            policy.api.destroy_environment(environment)
            policy.set_environment(None)
        policy.api.unregister_policy()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)
