from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cuda_runner import FOLDER, SCHEDULES, build, compile_for_gpu
from vsedvr.ops import cuda

KERNEL = (FOLDER / "prims_test.cu").read_text()
PRIMS = cuda.source().split('#line 1 "deform_conv_samples.cuh"')[0]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """Runs the kernel on a copy of its tensors."""
    shared_bytes = 8 * 2 * (256 + 128)
    if request.param == "cuda":
        import cupy

        kernel = cupy.RawModule(code=PRIMS + KERNEL, options=cuda.OPTIONS).get_function("vsedvr_prims")

        def on_gpu(tensors: Sequence[Tensor]) -> list[Tensor]:
            tensors = [tensor.cuda() for tensor in tensors]
            torch.cuda.synchronize()  # CuPy has another stream
            kernel((1,), (cuda.THREADS,), tuple(tensor.data_ptr() for tensor in tensors), shared_mem=shared_bytes)
            cupy.cuda.runtime.deviceSynchronize()
            return [tensor.cpu() for tensor in tensors]

        return on_gpu
    runner = build(tmp_path, ["prims"], lambda text: text + KERNEL)

    def on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
        results = []
        for runner.schedule in SCHEDULES:
            results.append([tensor.clone() for tensor in tensors])
            runner.launch("prims", (1,), shared_bytes, *results[-1])
        assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
        return results[0]

    return on_cpu


def test_prims_are_what_they_say(launch: Callable[[Sequence[Tensor]], list[Tensor]]) -> None:
    """On a GPU this shows that the inline PTX is right; on a CPU, that its replacements are."""
    dtypes = [torch.float16, torch.bfloat16]
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        dtypes = dtypes[:1]
    values = torch.randn(512) * torch.logspace(-6, 4, 512)
    values[:4] = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8])  # ties
    outputs = [torch.zeros(8, 16, 8), torch.zeros(8, 16, 8), *torch.zeros(2, 256, dtype=torch.int32), torch.zeros(256)]
    outputs.append(torch.zeros(2, 256, dtype=torch.int32))
    for k, dtype in enumerate(dtypes):
        a, b = torch.randint(-8, 9, (8, 16, 16)).to(dtype), torch.randint(-8, 9, (8, 8, 16)).to(dtype)
        _, _, _, *results, back, halves = launch([a, b, values, *outputs])
        assert torch.equal(results[k], a.float() @ b.float().mT), "sums of small whole numbers are exact"
        assert torch.equal(results[k + 2].view(dtype), values.to(dtype))
        assert torch.equal(back, values[:256].half().float())
        if dtype == torch.float16:
            x, y, rounded = a.flatten()[:512].double(), b.flatten()[:512].double(), values.half().double()
            exact = torch.stack([x * y, x * y + rounded]).numpy()
            assert (halves.view(torch.float16).numpy() == exact.astype(np.float16)).all(), "NumPy rounds once"


@pytest.mark.parametrize("arch", [75, 80, 90, 120])
def test_the_text_for_a_gpu_compiles(arch: int) -> None:
    cubin, log = compile_for_gpu(PRIMS + KERNEL, arch)
    assert cubin
    assert "Compiling entry function 'vsedvr_prims'" in log
