"""Values of the source outside of [0, 1]."""

import pytest
import torch

from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling
from vsedvr.infer.beyond import add_beyond
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_flat_colours_are_kept(scale: int) -> None:
    source = torch.tensor([1.25, -0.5, 0.3]).view(3, 1, 1).expand(3, 6, 7)
    restored = torch.rand(3, 6 * scale, 7 * scale).half()
    total = add_beyond(restored, source)
    assert total.dtype == torch.float32
    assert (total - restored - torch.tensor([0.25, -0.5, 0]).view(3, 1, 1)).abs().max() < 1e-6


def test_what_is_within_the_range_or_not_finite_adds_nothing() -> None:
    restored = torch.rand(1, 4, 12)
    source = torch.tensor([[[torch.inf, -torch.inf, torch.nan]]])
    assert torch.equal(add_beyond(restored, source), restored)
    assert torch.equal(add_beyond(restored, torch.rand(1, 1, 3)), restored)


@pytest.mark.parametrize("config", [X4, TINY])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("tile", [(0, 0), (16, 12)])
@pytest.mark.parametrize("ensemble", [1, 4])
def test_an_engine_adds_them_to_the_clamped_result(
    config: EDVRConfig, dtype: torch.dtype, tile: tuple[int, int], ensemble: int
) -> None:
    model, wild, tiling = random_model(config), torch.rand(5, 3, 20, 33) * 3 - 1, Tiling(20, 33, tile, 4, config)
    engine, other = (Engine(model, "cpu", dtype, tiling, ensemble=ensemble) for _ in range(2))
    clamped = other.restore(range(5), wild.clamp(0, 1).__getitem__)
    assert torch.equal(engine.restore(range(5), wild.__getitem__), clamped)
    kept = engine.restore(range(5), wild.__getitem__, keep_beyond=True)
    assert torch.equal(kept, add_beyond(clamped, wild[2]))
    assert kept.max() > 1.5


@pytest.mark.parametrize("keep_beyond", [False, True])
@pytest.mark.parametrize("tile", [(0, 0), (16, 12)])
def test_a_result_is_rounded_once_where_it_was_computed(keep_beyond: bool, tile: tuple[int, int]) -> None:
    wild, tiling = torch.rand(5, 3, 20, 33) * 2, Tiling(20, 33, tile, 4, X4)
    engine = Engine(random_model(X4), dtype=torch.float16, tiling=tiling)
    exact = engine.restore(range(5), wild.__getitem__, keep_beyond=keep_beyond)
    half = engine.launch(range(5), wild.__getitem__, keep_beyond=keep_beyond, dtype=torch.float16).result()
    assert half.dtype == torch.float16
    assert torch.equal(half, exact.half())


def test_a_frame_that_overflows_keeps_them_too() -> None:
    model, wild = random_model(X4), torch.rand(5, 3, 16, 16) * 3 - 1
    torch.nn.init.constant_(model.conv_last.bias, 1e5)  # type: ignore[arg-type]
    exact, engine = Engine(model), Engine(model, dtype=torch.float16)
    expected = exact.restore(range(5), wild.__getitem__, keep_beyond=True)
    result = engine.launch(range(5), wild.__getitem__, keep_beyond=True, dtype=torch.float16).result()
    assert torch.equal(result, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("tile", [(0, 0), (24, 24)])
def test_a_gpu_adds_what_the_cpu_adds(tile: tuple[int, int]) -> None:
    model, wild, tiling = random_model(X4), torch.rand(5, 3, 45, 70) * 3 - 1, Tiling(45, 70, tile, 4, X4)
    expected = Engine(model, tiling=tiling).restore(range(5), wild.__getitem__, keep_beyond=True)
    pending = Engine(model, "cuda", torch.float16, tiling).launch(
        range(5), wild.__getitem__, keep_beyond=True, dtype=torch.float16
    )
    assert pending.result().dtype == torch.float16
    assert (pending.result() - expected).abs().max() < 2e-2
