import logging
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
from vsedvr.infer import Engine, Tiling, choose_tiling, feature_bytes, free_bytes, working_bytes
from vsedvr.infer.memory import OVERHEAD, RESERVE, SMALL_STEPS, Steps, choose_steps, is_out_of_memory
from vsedvr.infer.network import Network
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def can_allocate(tile_area: int, error: Callable[[], Exception], engine: Engine) -> None:
    """Lets the engine's network fail from now on for tiles larger than this many pixels, as if memory ran out."""
    original = engine.model.extract

    def extract(lq: Tensor) -> Any:
        if lq.shape[2] * lq.shape[3] > tile_area:
            raise error()
        return original(lq)

    engine.model.extract = extract  # type: ignore[assignment,method-assign]


def cpu_error() -> Exception:
    """Returns the error that PyTorch raises on a CPU, from an allocation that is too large for any machine."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


ERRORS: dict[str, Callable[[], Exception]] = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuDNN": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "page-locked": lambda: RuntimeError("CUDA error: out of memory"),
    "CPU": cpu_error,
    "C++": lambda: RuntimeError("std::bad_alloc"),
    "oneDNN": lambda: RuntimeError("could not create a primitive"),
    "Python": MemoryError,
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_out_of_memory_is_told_from_other_errors(error: Callable[[], Exception]) -> None:
    assert is_out_of_memory(error())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution forward propagation"))
    assert not is_out_of_memory(ValueError("no"))


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_out_of_memory_goes_on_in_smaller_tiles(error: Callable[[], Exception], caplog: pytest.LogCaptureFixture) -> None:
    model, clip = random_model(X4), torch.rand(5, 3, 75, 141)
    engine = Engine(model, tiling=Tiling(75, 141, (0, 0), 4, X4))
    can_allocate(60 * 60, error, engine)
    loaded: list[int] = []

    def load(i: int) -> Tensor:
        loaded.append(i)
        return clip[i]

    with caplog.at_level(logging.WARNING, "vsedvr"):
        out = engine.restore(range(5), load)
        again = engine.restore(range(5), clip.__getitem__)
    assert sorted(loaded) == [0, 1, 2, 3, 4], "once for each frame, the failed tries included"
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory: restoring in smaller tiles from here on; tile=(72, 75) has them from the start",
        "out of memory: restoring in smaller tiles from here on; tile=(72, 40) has them from the start",
    ]
    from_the_start = Engine(model, tiling=Tiling(75, 141, (72, 40), 4, X4))
    assert torch.equal(out, from_the_start.restore(range(5), clip.__getitem__))
    assert torch.equal(out, again)


@pytest.mark.parametrize("tile_area", [1 << 20, 60 * 60])
def test_out_of_memory_goes_on_in_small_steps_first(tile_area: int, caplog: pytest.LogCaptureFixture) -> None:
    """Without a word where these suffice, since only the rounding differs; then in smaller tiles."""
    model, clip = random_model(X4), torch.rand(5, 3, 75, 141)
    engine = Engine(model, tiling=Tiling(75, 141, (0, 0), 4, X4), steps=Steps(None, True))
    can_allocate(tile_area, ERRORS["GPU"], engine)

    def align_all(*given: object) -> Any:
        raise ERRORS["GPU"]()

    engine.model.align_all = align_all  # type: ignore[assignment,method-assign]
    out = engine.restore(range(5), clip.__getitem__)
    assert engine.workspace.steps == SMALL_STEPS
    assert engine.tiling
    assert len(caplog.records) == (0 if tile_area > 141 * 75 else 2)
    assert torch.equal(out, Engine(model, tiling=engine.tiling).restore(range(5), clip.__getitem__))


def test_a_full_cache_makes_room() -> None:
    """Otherwise the cache would grow until the next tiles have no room either."""
    engine, clip = Engine(random_model(X4)), torch.rand(6, 3, 120, 130)
    engine.restore(range(5), clip.__getitem__)
    in_use = engine.workspace.cache.nbytes + working_bytes(Tiling.whole(120, 130, X4), torch.float32, CPU)
    can_allocate(100 * 100, ERRORS["GPU"], engine)
    engine.restore(range(1, 6), clip.__getitem__)
    cache = engine.workspace.cache
    assert cache.nbytes <= cache.max_bytes <= in_use // 2


def test_the_error_that_remains_names_the_arguments() -> None:
    engine = Engine(random_model(X4), tiling=Tiling(75, 141, (64, 64), 8, X4))
    can_allocate(0, ERRORS["GPU"], engine)
    with pytest.raises(MemoryError, match=r"tile \(32, 32\) with tile_pad 8 .* smaller tile_pad.* Tried to allocate 2.00 GiB"):
        engine.restore([0] * 5, torch.rand(5, 3, 75, 141).__getitem__)


def test_other_errors_are_not_taken_for_it() -> None:
    engine = Engine(random_model(X4))
    can_allocate(0, lambda: RuntimeError("shapes"), engine)
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        engine.restore([0] * 5, torch.rand(5, 3, 75, 141).__getitem__)


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
    peak, estimate = peak_and_estimate(monkeypatch, Tiling(540, 960, tile, 12, config), dtype, 0, ensemble)
    assert peak <= estimate <= 1.6 * peak + OVERHEAD


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


def pretend(monkeypatch: pytest.MonkeyPatch, free: int = 0, reserved: int = 0, allocated: int = 0) -> None:
    """Simulates the state of a GPU's memory, which engines see whatever their device."""
    monkeypatch.setattr("vsedvr.infer.warm_up.free_bytes", lambda device: free_bytes(GPU))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)


def test_free_bytes_of_a_gpu_leave_a_reserve_and_count_what_pytorch_holds_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, free=8 << 30)
    assert free_bytes(GPU) == (8 << 30) - (512 << 20)
    pretend(monkeypatch, free=8 << 30, reserved=3 << 30, allocated=1 << 30)
    assert free_bytes(GPU) == (10 << 30) - (512 << 20)
    pretend(monkeypatch, free=200 << 20)
    assert free_bytes(GPU) == 100 << 20


class TestWarmUp:
    """Tests of what an engine does on a GPU when it is created. A CPU replaces it here, so the method is called directly."""

    def test_meets_out_of_memory(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        pretend(monkeypatch, free=1 << 30)
        engine = Engine(random_model(X4), tiling=Tiling(75, 141, (0, 0), 4, X4))
        can_allocate(60 * 60, ERRORS["GPU"], engine)
        engine._warm_up()
        assert engine.tiling
        assert engine.tiling.tile == (72, 40)
        assert not engine.workspace.cache.frames
        assert len(caplog.records) == 2

    @pytest.mark.parametrize(("fits", "tile"), [(76 * 144, (141, 75)), (60 * 60, (72, 40))])
    def test_counts_what_a_driver_puts_in_the_computers_memory(
        self, monkeypatch: pytest.MonkeyPatch, fits: int, tile: tuple[int, int]
    ) -> None:
        """PyTorch may hold no more than the 2 GiB that it held before, plus 1 GiB of free memory, minus the reserve."""
        tiling = Tiling(75, 141, (0, 0), 4, X4)
        engine, limit = Engine(random_model(X4), tiling=tiling), (3 << 30) - (512 << 20)
        pretend(monkeypatch, free=1 << 30, reserved=2 << 30, allocated=1 << 30)
        original = engine.model.extract

        def extract(lq: Tensor) -> Any:
            reserved = limit + (lq.shape[2] * lq.shape[3] > fits)
            monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
            return original(lq)

        engine.model.extract = extract  # type: ignore[assignment,method-assign]
        engine._warm_up()
        assert engine.tiling
        assert engine.tiling.tile == tile

    def test_does_not_go_on_in_the_computers_memory_with_the_smallest_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = Engine(random_model(X4), tiling=Tiling(75, 141, (0, 0), 4, X4))
        pretend(monkeypatch, free=2 << 20)
        monkeypatch.setattr("vsedvr.infer.warm_up.free_bytes", lambda device: 1 << 20)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 << 20)
        message = r"cannot be smaller; .* \(5 MiB are more than the 1 MiB that were free on the GPU\)"
        with pytest.raises(MemoryError, match=message):
            engine._warm_up()

    def test_does_not_mind_pictures_that_are_not_finite(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pretend(monkeypatch, free=1 << 30)
        model = random_model(X4)
        torch.nn.init.constant_(model.conv_last.bias, torch.nan)  # type: ignore[arg-type]
        Engine(model, tiling=Tiling.whole(75, 141, X4))._warm_up()


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


@pytest.mark.gpu
def test_on_a_gpu_out_of_memory_goes_on_in_smaller_tiles(caplog: pytest.LogCaptureFixture) -> None:
    config, device = EDVRConfig(num_extract_block=1, num_reconstruct_block=1), torch.device("cuda", 0)
    model, clip, whole = random_model(config), torch.rand(5, 3, 270, 480), Tiling.whole(270, 480, config)
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(device)[1]
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + (400 << 20)) / total, device)
        engine = Engine(model, device, tiling=whole)
        restored = engine.restore(range(5), clip.__getitem__)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert engine.tiling
    assert len(engine.tiling.tiles) > 1
    assert "out of memory: restoring in smaller tiles" in caplog.text
    assert (restored - Engine(model, tiling=engine.tiling).restore(range(5), clip.__getitem__)).abs().max() < 1e-4


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
