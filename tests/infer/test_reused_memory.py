"""The engine's arena: CPU memory that is reused for the kernels' results from tile to tile."""

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from conftest import random_model
from vsedvr.infer import Engine, Tiling, feature_bytes, working_bytes
from vsedvr.infer.cache import FrameTile
from vsedvr.infer.memory import ROWS_AT_A_TIME, arena_bytes
from vsedvr.model import EDVRConfig
from vsedvr.ops import Arena, native
from vsedvr.ops.arena import ALIGNMENT, LARGE

CPU = torch.device("cpu")
X4 = EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16)

pytestmark = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")


def restore(engine: Engine, clip: Tensor) -> list[Tensor]:
    return [engine.restore([n, n + 1, n + 2], clip.__getitem__) for n in range(2)]


@pytest.mark.parametrize("tile", [(0, 0), (80, 80)])
def test_between_frames_it_holds_the_kept_features_and_changes_no_bit(
    tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clip = random_model(X4), torch.rand(4, 3, 150, 170)
    tiling = Tiling(150, 170, tile, 52, X4)
    room = 4 * feature_bytes(X4, tiling.tiles[0], torch.float32)
    engine, without = (Engine(model, tiling=tiling, cache_bytes=room) for _ in range(2))
    monkeypatch.setattr(without.workspace, "reused_memory", nullcontext)
    for frame, expected in zip(restore(engine, clip), restore(without, clip), strict=True):
        assert torch.equal(frame, expected)
    assert "arena" not in vars(without.workspace)
    arena = engine.workspace.arena
    assert arena is not None
    gc.collect()
    kept = [t for frame in engine.workspace.cache.frames.values() for t in tensors(frame) if t.nbytes >= LARGE]
    assert kept
    assert bytes_in_use(arena) == sum(t.nbytes + -t.nbytes % ALIGNMENT for t in kept)
    del kept
    engine.workspace.cache.frames.clear()
    assert bytes_in_use(arena) == 0


def tensors(frame: FrameTile) -> list[Tensor]:
    features = frame.features
    return [*features.feat, *features.offset_nbr, *features.offset_ref, features.cas_offset_ref]


def bytes_in_use(arena: Arena) -> int:
    assert arena.empty((1, 1, len(arena.memory), 1), torch.float32) is None, "four times its size"
    return len(arena.memory) - sum(end - begin for begin, end in arena.gaps)


def test_pixels_do_not_depend_on_the_order() -> None:
    """The network has packed weights, which networks with few features do not have."""
    model, clip = random_model(X4), torch.rand(8, 3, 100, 130)
    linear, other = Engine(model), Engine(model, cache_bytes=2 << 20)
    expected = [linear.restore([n, n + 1, n + 2], clip.__getitem__) for n in range(6)]
    for n in (5, 0, 3, 3, 4, 1, 2):
        assert torch.equal(other.restore([n, n + 1, n + 2], clip.__getitem__), expected[n])


def test_it_ends_with_the_engine() -> None:
    engine = Engine(random_model(X4))
    restore(engine, torch.rand(4, 3, 150, 170))
    arena = weakref.ref(engine.workspace.arena)
    del engine
    gc.collect()
    assert arena() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tile", [(0, 0), (64, 64)])
@pytest.mark.parametrize(
    "config",
    [
        X4,
        EDVRConfig(),
        EDVRConfig(with_tsa=False),
        EDVRConfig(3, 3, 32, 5, 4, 3, 24, num_tail_feat=32),
        EDVRConfig(num_feat=128, num_frame=7),
        EDVRConfig(scale=1, with_predeblur=True),
    ],
)
def test_it_is_within_the_estimate(config: EDVRConfig, tile: tuple[int, int], dtype: torch.dtype) -> None:
    for size in ((20, 30), (180, 320), (1080, 1920)):
        tiling = Tiling(*size, tile, 8, config)
        assert arena_bytes(tiling, dtype) <= working_bytes(tiling, dtype, CPU)


def test_smaller_tiles_get_a_smaller_one() -> None:
    model, clip = random_model(X4), torch.rand(4, 3, 150, 170)
    engine = Engine(model)
    restore(engine, clip)
    before = engine.workspace.arena
    assert before is not None
    original = engine.model.reconstruct
    failed: list[int] = []

    def reconstruct(feat: Tensor, center: Tensor, rows: int = ROWS_AT_A_TIME) -> Tensor:
        if not failed:
            failed.append(1)
            raise MemoryError
        return original(feat, center, rows)

    engine.model.reconstruct = reconstruct  # type: ignore[assignment,method-assign]
    restore(engine, clip)
    assert engine.workspace.arena is not None
    assert len(engine.workspace.arena.memory) < len(before.memory)
