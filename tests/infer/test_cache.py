import pytest
import torch
from torch import Tensor

from conftest import random_model
from vsedvr.infer import Engine, Tiling, clip_windows, feature_bytes
from vsedvr.infer.cache import FrameCache, VersionTile
from vsedvr.infer.ensemble import Transform
from vsedvr.infer.tile import Tile
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
FOUR = Tiling(32, 36, (12, 16), 4, X4)
ONE = feature_bytes(X4, FOUR.tiles[0], torch.float32)


def extractions(cache_bytes: int, numbers: range) -> tuple[float, Tensor]:
    """Returns the number of extractions per frame and tile while a clip plays, and the restored frames."""
    clip = torch.rand(40, 3, 32, 36, generator=torch.Generator().manual_seed(1))
    engine = Engine(random_model(X4), tiling=FOUR, cache_bytes=cache_bytes)
    calls = []
    engine.model.conv_l3_2.register_forward_hook(lambda *args: calls.append(1))
    windows = clip_windows(X4, 40, "replicate")
    frames = [engine.restore(windows.indices(n), clip.__getitem__) for n in numbers]
    assert engine.workspace.cache.nbytes <= cache_bytes
    return len(calls) / len(numbers) / len(FOUR.tiles), torch.stack(frames)


@pytest.mark.parametrize(
    ("room", "kept"), [(0, 0), (3.9, 0), (4, 1), (5, 1), (8.5, 1), (9, 2), (12, 2), (14, 3), (17.5, 3), (19, 4), (100, 4)]
)
def test_work_falls_with_the_room_for_features(room: float, kept: int) -> None:
    """`room` is the room for frames of a tile. A kept tile is extracted once per frame, other tiles once per window.

    If there is no room for one whole tile, some frames of the first tile are found.
    """
    assert len(FOUR.tiles) == 4
    per_frame, frames = extractions(int(room * ONE), range(10, 18))
    _, expected = extractions(1 << 30, range(10, 18))
    first = 5 - min(4, int(room))
    per_tile = [first, *(1 if k < kept else 5 for k in range(1, 4))]
    first_window = sum(5 - number for number in per_tile) / 8
    assert per_frame == pytest.approx((sum(per_tile) + first_window) / 4)
    assert torch.equal(frames, expected)


def test_the_kept_tiles_stay_the_same() -> None:
    clip = torch.rand(40, 3, 32, 36)
    engine = Engine(random_model(X4), tiling=FOUR, cache_bytes=9 * ONE)
    for n in [20, 3, 30, 4, 5, 5, 38]:
        engine.restore(clip_windows(X4, 40, "replicate").indices(n), clip.__getitem__)
        assert {tile for _, (_, tile) in engine.workspace.cache.frames} <= set(FOUR.tiles[:2])


def test_of_the_kept_tiles_the_least_recently_used_frame_goes_first() -> None:
    tiles = [VersionTile(Transform(), Tile(0, left, 4, 4)) for left in (0, 4)]
    engine = Engine(random_model(X4))
    engine.restore([0] * 5, lambda i: torch.rand(3, 4, 4))
    (frame,) = engine.workspace.cache.frames.values()
    cache = FrameCache(tiles, 3, frame.nbytes, 4 * frame.nbytes)
    for key in [(0, tiles[0]), (1, tiles[0]), (1, tiles[1]), (2, tiles[0]), (3, tiles[0])]:
        cache.put(key, frame)
    assert cache.get((0, tiles[0]))
    assert cache.get((1, tiles[1])) is None, "the other tile never enters"
    cache.put((4, tiles[0]), frame)
    assert [i for i, _ in cache.frames] == [2, 3, 0, 4]
    assert cache.nbytes == 4 * frame.nbytes
