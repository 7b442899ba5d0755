"""What an engine goes on with after memory ran out."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import random_model
from out_of_memory import ERRORS, can_allocate
from vsedvr.infer import Engine, Tiling, working_bytes
from vsedvr.infer.memory import SMALL_STEPS, Steps
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU = torch.device("cpu")


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
