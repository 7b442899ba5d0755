"""What an engine does on a GPU when it is created. A CPU replaces the GPU here, so the method is called directly."""

from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import random_model
from out_of_memory import ERRORS, can_allocate, pretend
from vsedvr.infer import Engine, Tiling
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


def test_it_meets_out_of_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pretend(monkeypatch, free=1 << 30)
    engine = Engine(random_model(X4), tiling=Tiling(75, 141, (0, 0), 4, X4))
    can_allocate(60 * 60, ERRORS["GPU"], engine)
    engine._warm_up()
    assert engine.tiling
    assert engine.tiling.tile == (72, 40)
    assert not engine.workspace.cache.frames
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("fits", "tile"), [(76 * 144, (141, 75)), (60 * 60, (72, 40))])
def test_it_counts_what_a_driver_puts_in_the_computers_memory(
    monkeypatch: pytest.MonkeyPatch, fits: int, tile: tuple[int, int]
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


def test_it_does_not_go_on_in_the_computers_memory_with_the_smallest_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(random_model(X4), tiling=Tiling(75, 141, (0, 0), 4, X4))
    pretend(monkeypatch, free=2 << 20)
    monkeypatch.setattr("vsedvr.infer.warm_up.free_bytes", lambda device: 1 << 20)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 << 20)
    message = r"cannot be smaller; .* \(5 MiB are more than the 1 MiB that were free on the GPU\)"
    with pytest.raises(MemoryError, match=message):
        engine._warm_up()


def test_it_does_not_mind_pictures_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, free=1 << 30)
    model = random_model(X4)
    torch.nn.init.constant_(model.conv_last.bias, torch.nan)  # type: ignore[arg-type]
    Engine(model, tiling=Tiling.whole(75, 141, X4))._warm_up()
