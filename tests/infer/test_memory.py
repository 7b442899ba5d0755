from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import TINY, random_model
from out_of_memory import ERRORS, GPU, pretend
from vsedvr.infer import Engine, Tiling, choose_tiling, feature_bytes, free_bytes, working_bytes
from vsedvr.infer.memory import OVERHEAD, RESERVE, SMALL_STEPS, Steps, choose_steps, is_out_of_memory
from vsedvr.infer.network import Network
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU = torch.device("cpu")


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_out_of_memory_is_told_from_other_errors(error: Callable[[], Exception]) -> None:
    assert is_out_of_memory(error())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution forward propagation"))
    assert not is_out_of_memory(ValueError("no"))


@pytest.mark.parametrize("config", [X4, TINY, EDVRConfig(3, 3, 4, 3, 1, 0, 0, with_predeblur=True, scale=1)])
def test_feature_bytes_are_those_of_the_cache(config: EDVRConfig) -> None:
    engine = Engine(random_model(config))
    engine.restore([0] * config.num_frame, lambda i: torch.rand(3, 35, 50))
    assert engine.tiling
    assert engine.workspace.cache.nbytes == feature_bytes(config, engine.tiling.tiles[0], torch.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (480, 720), (1080, 1920), (2160, 3840), (100, 5003)])
@pytest.mark.parametrize("budget", [1 << 28, 1 << 30, 1 << 33])
def test_automatic_tiles_are_the_largest_within_the_budget(height: int, width: int, budget: int) -> None:
    config = EDVRConfig()

    def needed(tiling: Tiling) -> int:
        window = config.num_frame * feature_bytes(config, tiling.tiles[0], torch.float32)
        return window + working_bytes(tiling, torch.float32, CPU)

    whole = Tiling.whole(height, width, config)
    chosen = choose_tiling(whole, torch.float32, CPU, budget)
    assert needed(chosen) <= budget or chosen.smaller() is None
    tiling = whole
    while tiling.tile != chosen.tile:
        assert needed(tiling) > budget
        tiling = tiling.smaller() or chosen


class LiveBytes(TorchDispatchMode):
    """Counts the peak of the bytes in living tensors, for tensors without data (torch's meta device)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: (ref, nbytes) for key, (ref, nbytes) in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self.alive.values()))
        return out


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Pretends that there is a GPU; the test decides whether it has our kernels."""
    kernels = SimpleNamespace(there=True)
    cuda = SimpleNamespace(is_available=lambda device: kernels.there)
    monkeypatch.setattr("vsedvr.ops.cuda", cuda, raising=False)
    return kernels


CONFIGS = pytest.mark.parametrize(
    "config",
    [
        EDVRConfig(),
        EDVRConfig(with_tsa=False),
        EDVRConfig(num_frame=7, num_feat=32, deformable_groups=4, num_tail_feat=32),
        EDVRConfig(num_feat=128, num_reconstruct_block=2),
        EDVRConfig(scale=1, with_predeblur=True),
        EDVRConfig(scale=2),
    ],
    ids=["M", "without TSA", "small, 7 frames", "L", "x1", "x2"],
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@CONFIGS
def test_with_the_kernels_for_gpus_the_estimate_covers_every_tensor(
    config: EDVRConfig, dtype: torch.dtype, kernels: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapes are computed without data, so that the peak can be counted without a GPU. cuDNN's own memory is not included."""
    peak, estimate = peak_and_estimate(monkeypatch, Tiling.whole(540, 960, config), dtype, 1 << 40)
    assert peak <= estimate <= 1.5 * peak + OVERHEAD


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("config", [EDVRConfig(num_extract_block=1, num_reconstruct_block=1), X4], ids=["M", "tiny"])
@pytest.mark.parametrize(("tile", "ensemble"), [((480, 540), 1), ((0, 0), 4), ((480, 540), 4)], ids=str)
def test_it_covers_pictures_that_are_joined_on_a_gpu(
    tile: tuple[int, int],
    ensemble: int,
    config: EDVRConfig,
    dtype: torch.dtype,
    kernels: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One window of features is kept. Tiles and versions that are not have the features of two frames at a time."""
    tiling = Tiling(540, 960, tile, 12, config)
    one = feature_bytes(config, tiling.tiles[0], dtype)
    peak, estimate = peak_and_estimate(monkeypatch, tiling, dtype, config.num_frame * one, ensemble)
    assert peak <= estimate + 2 * one <= 1.6 * peak + OVERHEAD


def peak_and_estimate(
    monkeypatch: pytest.MonkeyPatch, tiling: Tiling, dtype: torch.dtype, cache_bytes: int, ensemble: int = 1
) -> tuple[int, int]:
    """Restores a frame without data, as on a GPU; returns the peak of the bytes in tensors, and the estimate of it."""
    config = tiling.config
    monkeypatch.setattr("vsedvr.infer.engine.start_download", lambda tensor: torch.ones(()).expand(tensor.shape))
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # which the meta device has not
    engine = Engine(random_model(config), "meta", dtype, tiling, cache_bytes=cache_bytes, ensemble=ensemble)
    kept = config.num_frame * feature_bytes(config, tiling.tiles[0], dtype)
    with LiveBytes() as live:
        engine.restore(range(config.num_frame), lambda i: torch.zeros(1, 1, 1).expand(3, 540, 960), keep_beyond=True)
    assert engine.workspace.cache.nbytes == min(kept, cache_bytes)
    return live.peak, kept + working_bytes(tiling, dtype, GPU, ensemble)


@pytest.mark.parametrize("steps", [Steps(None, True), Steps(None, False), Steps(90, False)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@CONFIGS
@pytest.mark.usefixtures("kernels")
def test_in_other_steps_it_covers_every_tensor_too(
    config: EDVRConfig, dtype: torch.dtype, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network alone, as the engine calls it."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    tiling = Tiling.whole(540, 960, config)
    model = Network(random_model(config), "meta", dtype).model
    with torch.inference_mode():
        lq = torch.empty(1, 3, tiling.tiles[0].height, 960, dtype=dtype, device="meta")
        lq = lq.contiguous(memory_format=torch.channels_last)
        frames = [model.extract(lq) for _ in range(config.num_frame)]
        with LiveBytes() as live:
            ref = frames[config.center]
            aligned = model.align_all(frames, ref) if steps.at_once else [model.align(frame, ref) for frame in frames]
            fused = model.fuse(aligned)
            del aligned
            model.reconstruct(fused, lq, steps.rows)
    estimate = working_bytes(tiling, dtype, GPU, steps=steps)
    assert live.peak <= estimate <= 1.7 * live.peak + OVERHEAD


@CONFIGS
@pytest.mark.parametrize("tile", [(0, 0), (320, 180)])
@pytest.mark.usefixtures("kernels")
def test_steps_are_the_fewest_that_leave_room_for_all_features(config: EDVRConfig, tile: tuple[int, int]) -> None:
    tiling = Tiling(540, 960, tile, 12, config)
    least = working_bytes(tiling, torch.float16, GPU)
    kept = (config.num_frame + 2) * len(tiling.tiles) * feature_bytes(config, tiling.tiles[0], torch.float16)
    chosen = [choose_steps(tiling, torch.float16, GPU, kept + (room << 20)) for room in range(0, 20000, 100)]
    takes = [working_bytes(tiling, torch.float16, GPU, steps=steps) for steps in chosen]
    assert all(bytes_ <= least + (room << 20) for bytes_, room in zip(takes, range(0, 20000, 100), strict=True))
    assert chosen[-1] == Steps(None, True)
    assert [steps.at_once for steps in chosen] == sorted(steps.at_once for steps in chosen)
    heights = [steps.rows or 1 << 20 for steps in chosen]
    assert heights == sorted(heights), "with more memory never more strips"
    assert choose_steps(tiling, torch.float16, GPU, kept - 1) == SMALL_STEPS
    assert choose_steps(tiling, torch.float16, CPU, 1 << 50) == SMALL_STEPS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_without_them_it_covers_all_taps_in_float32(dtype: torch.dtype, kernels: SimpleNamespace) -> None:
    config = EDVRConfig()
    tiling = Tiling.whole(540, 960, config)
    fused = working_bytes(tiling, dtype, GPU)
    kernels.there = False
    assert fused + 540 * 960 * 9 * 64 * 4 < working_bytes(tiling, dtype, GPU) < working_bytes(tiling, torch.float32, CPU)


def test_free_bytes_of_a_gpu_leave_a_reserve_and_count_what_pytorch_holds_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, free=8 << 30)
    assert free_bytes(GPU) == (8 << 30) - (512 << 20)
    pretend(monkeypatch, free=8 << 30, reserved=3 << 30, allocated=1 << 30)
    assert free_bytes(GPU) == (10 << 30) - (512 << 20)
    pretend(monkeypatch, free=200 << 20)
    assert free_bytes(GPU) == 100 << 20


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_on_a_gpu_the_estimate_holds(dtype: torch.dtype) -> None:
    config, device = EDVRConfig(num_reconstruct_block=2), torch.device("cuda", 0)
    tiling, clip = Tiling.whole(360, 640, config), torch.rand(6, 3, 360, 640)
    kept = config.num_frame * feature_bytes(config, tiling.tiles[0], dtype)
    engine = Engine(random_model(config), device, dtype, tiling, kept)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    for n in range(2):
        engine.restore(range(n, n + 5), clip.__getitem__)
    assert torch.cuda.max_memory_allocated(device) - before <= kept + working_bytes(tiling, dtype, device)


def test_the_table_in_the_readme_is_what_the_formula_gives(kernels: SimpleNamespace) -> None:
    configs = {
        "small": EDVRConfig(3, 3, 32, 5, 4, 3, 16, num_tail_feat=32),
        "EDVR-M": EDVRConfig(),
        "EDVR-L": EDVRConfig(num_feat=128, num_reconstruct_block=40),
    }
    text = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.count("GiB |") == 2]
    assert len(rows) == 9
    for name, size, *figures in rows:
        width, height = map(int, size.split("x"))
        whole = Tiling.whole(height, width, configs[name])
        expected = []
        for dtype in (torch.float16, torch.float32):
            window = whole.config.num_frame * feature_bytes(whole.config, whole.tiles[0], dtype)
            expected.append(f"{(window + working_bytes(whole, dtype, GPU)) / 2**30:.1f} GiB")
        for free in (7, 11, 23):
            chosen = choose_tiling(whole, torch.float16, GPU, ((free << 30) - RESERVE) // 2)
            expected.append("whole" if len(chosen.tiles) == 1 else f"{chosen.tile[0]}x{chosen.tile[1]}")
        assert figures == expected, (name, size)


def test_free_bytes() -> None:
    assert 1 << 20 < free_bytes(torch.device("cpu")) < 1 << 50
