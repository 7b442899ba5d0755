"""The CPU in a GPU's place: it finds bugs that are put into the kernels, and it watches what memory they touch."""

import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cuda_runner import SCHEDULES, build, build_program
from dcn_kernels import (
    forward,
    inputs,
    typed,
)
from vsedvr.ops import cuda, cuda_dcn

MMA, ANY, REGISTERS = "mma_float16_float16_64_8", "any_float32_float32", "registers_float16_float16_64_8"
BUGS = {
    "no barrier": (MMA, "wait_for_copies();\n                __syncthreads();", "wait_for_copies();"),
    "no barrier before the output": (MMA, "threadIdx.x / 32;\n        __syncthreads();", "threadIdx.x / 32;"),
    "no barrier after the product": (ANY, "__syncthreads();\n        }", "}"),
    "no wait for copies": (MMA, "wait_for_copies();", ""),
    "weights once instead of twice": (MMA, "% 2 * C * weight_row", "* 0"),
    "samples once instead of twice": (MMA, "% 2 * pixels * sample_row", "* 0"),
    "shared memory overrun": (MMA, "M::pixels * M::sample_row;", "M::pixels * M::sample_row + 16;"),
    "rows that are not aligned": (MMA, "sample_row + k);", "sample_row + k + 4);"),
    "a barrier for some": (ANY, "SHARED_MEMORY(shared);", "SHARED_MEMORY(shared); if (threadIdx.x < 40) return;"),
    "half a warp": (MMA, "multiply_stage(samples", "if (threadIdx.x % 32 < 16) multiply_stage(samples"),
    "registers: no barrier": (REGISTERS, "__syncthreads();\n            if (step", "if (step"),
    "registers: weights once instead of twice": (REGISTERS, "% 2 * C * step_channels", "* 0"),
    "two operations in a warp": (MMA, "load_matrices(b,", "if (lane) multiply(sums[0][0], b, b, T());\nelse load_matrices(b,"),
}
"""(kernel, original text, text with a bug)."""

MESSAGES = {
    "shared memory overrun": "a write behind the shared memory",
    "rows that are not aligned": "not at a multiple of 16",
    "a barrier for some": "a barrier was reached by a part of the block",
    "half a warp": "reached by a part of it",
    "two operations in a warp": "lanes of one warp are at different operations",
    "no wait for copies": "an asynchronous copy in flight",
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_runner_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """Each bug is put into a kernel that passes without it: the launch fails, or results depend on the schedule."""
    kernel, right, wrong = BUGS[bug]

    def seed(text: str) -> str:
        assert right in text
        return text.replace(right, wrong)

    runner = build(tmp_path, [kernel], seed)
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: (9, 0))
    monkeypatch.setattr(cuda_dcn, "OPERATOR", "registers" if kernel == REGISTERS else "mma")
    dtype = torch.float16 if "float16" in kernel else torch.float32
    args = typed(inputs(1, 64, 64, 8, 9, 10, 3), dtype, dtype)
    outs: list[Tensor] = []
    messages = []
    for runner.schedule in SCHEDULES:
        try:
            outs.append(*forward(0.1)(*args))
        except RuntimeError as error:
            messages.append(str(error))
    if bug in MESSAGES:
        assert len(messages) == len(SCHEDULES)
        assert all(MESSAGES[bug] in message for message in messages)
    else:
        assert not messages
        assert any(not torch.equal(out, outs[0]) or out.isnan().any() for out in outs)


def test_memory_is_never_touched_outside_of_the_tensors(tmp_path: Path) -> None:
    """The kernels run as a program of their own, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    kernels = ["any_float32_float32", "any_float16_float16", "backward_float32", "mma_float16_float16_32_4"]
    kernels += ["mma_float16_float32_64_8", "mma_bfloat16_float32_128_8"]
    kernels += ["registers_float16_float16_64_8", "half2_float16_float16_32_4", "bias_act_float16", "bias_act_shuffle_float32"]
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = build_program(tmp_path, "asan.cpp", kernels, flags)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "104 launches\n"
