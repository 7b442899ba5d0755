import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling, choose_tiling, feature_bytes, free_bytes, working_bytes
from vsedvr.infer.memory import is_out_of_memory
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


def can_allocate(tile_area: int, error: Callable[[], Exception], engine: Engine) -> None:
    """From here on the engine's network has memory for tiles up to this many pixels."""
    original = engine.model.extract

    def extract(lq: Tensor) -> Any:
        if lq.shape[2] * lq.shape[3] > tile_area:
            raise error()
        return original(lq)

    engine.model.extract = extract  # type: ignore[assignment,method-assign]


def cpu_error() -> Exception:
    """What PyTorch raises on a CPU, from an allocation that no machine has the memory for."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    return caught.value


ERRORS: dict[str, Callable[[], Exception]] = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuDNN": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "CPU": cpu_error,
    "Python": MemoryError,
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_out_of_memory_is_told_from_other_errors(error: Callable[[], Exception]) -> None:
    assert is_out_of_memory(error())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
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


def test_a_full_cache_makes_room() -> None:
    """Else it would grow until the next tiles have no room either."""
    engine, clip = Engine(random_model(X4)), torch.rand(6, 3, 120, 130)
    engine.restore(range(5), clip.__getitem__)
    kept, whole = engine.cache.nbytes, Tiling.whole(120, 130, X4)
    can_allocate(100 * 100, ERRORS["GPU"], engine)
    engine.restore(range(1, 6), clip.__getitem__)
    assert engine.cache.nbytes <= engine.cache.max_bytes <= (kept + working_bytes(whole, torch.float32)) // 2


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


@pytest.mark.parametrize("config", [X4, TINY, EDVRConfig(3, 3, 4, 3, 1, 0, 0, with_predeblur=True, hr_in=True)])
def test_feature_bytes_are_those_of_the_cache(config: EDVRConfig) -> None:
    engine = Engine(random_model(config))
    engine.restore([0] * config.num_frame, lambda i: torch.rand(3, 35, 50))
    assert engine.tiling
    assert engine.cache.nbytes == feature_bytes(config, engine.tiling.tiles[0], torch.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (480, 720), (1080, 1920), (2160, 3840), (100, 5003)])
@pytest.mark.parametrize("budget", [1 << 28, 1 << 30, 1 << 33])
def test_automatic_tiles_are_the_largest_within_the_budget(height: int, width: int, budget: int) -> None:
    config = EDVRConfig()

    def needed(tiling: Tiling) -> int:
        window = config.num_frame * feature_bytes(config, tiling.tiles[0], torch.float32)
        return window + working_bytes(tiling, torch.float32)

    whole = Tiling.whole(height, width, config)
    chosen = choose_tiling(whole, torch.float32, budget)
    assert needed(chosen) <= budget or chosen.smaller() is None
    tiling = whole
    while tiling.tile != chosen.tile:
        assert needed(tiling) > budget
        tiling = tiling.smaller() or chosen


def test_free_bytes() -> None:
    assert 1 << 20 < free_bytes(torch.device("cpu")) < 1 << 50
