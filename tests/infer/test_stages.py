import pytest
import torch
from torch import Tensor

from conftest import random_model
from vsedvr.infer import Engine, Tiling, build_stages, clip_windows, in_stages
from vsedvr.infer.stages import check_second_stage
from vsedvr.model import EDVRConfig

CPU = torch.device("cpu")
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
X2 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, scale=2, num_tail_feat=8)
X1 = EDVRConfig(3, 3, 8, 3, 2, 1, 1, scale=1, num_tail_feat=8)


@pytest.mark.parametrize("config", [X1, X2, X4], ids=["x1", "x2", "x4"])
def test_tiles_are_counted_in_pixels_of_the_clip(config: EDVRConfig) -> None:
    models, scale = [random_model(config), random_model(X1)], config.scale
    first, second = build_stages(models, CPU, torch.float32, (60, 100), (40, 24), 5)
    assert first.tiling
    assert first.tiling.tiles == Tiling(60, 100, (40, 24), 5, config).tiles
    assert second.tiling
    expected = Tiling(60 * scale, 100 * scale, (40 * scale, 24 * scale), 5 * scale, X1)
    assert second.tiling.tiles == expected.tiles
    whole = build_stages(models, CPU, torch.float32, (60, 100), (0, 0))
    assert all(engine.tiling and len(engine.tiling.tiles) == 1 for engine in whole)


def test_two_stages_share_the_memory_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: 8 << 30)
    engines = build_stages([random_model(X4), random_model(X1)], CPU, torch.float32, (360, 640))
    assert all(0 < engine.workspace.cache.max_bytes < 2 << 30 for engine in engines)


def test_the_second_restores_what_the_first_gives_and_asks_for_each_frame_once() -> None:
    clip, windows = torch.rand(9, 3, 16, 20), [clip_windows(config, 9) for config in (X4, X1)]
    first, second = Engine(random_model(X4)), Engine(random_model(X1), cache_bytes=0)
    between = [first.restore(windows[0].indices(n), clip.__getitem__) for n in range(9)]
    expected = [second.restore(windows[1].indices(n), between.__getitem__) for n in range(9)]
    asked: list[int] = []

    class Noted(Engine):
        def restore(self, indices: list[int], load: object) -> Tensor:  # type: ignore[override]
            asked.append(indices[2])
            return super().restore(indices, load)  # type: ignore[arg-type]

    restore = in_stages([Noted(random_model(X4)), second], [each.indices for each in windows], clip.__getitem__)
    for n in range(1, 8):
        assert torch.equal(restore(n), expected[n]), n
    assert asked == list(range(9))
    assert torch.equal(restore(3), expected[3]), "in any order"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (X4, "it enlarges 4 times; give the one that enlarges as model"),
        (X2, "it enlarges 2 times"),
        (EDVRConfig(1, 1, 8, 3, 2, 1, 1, scale=1), "as many channels as model, 3; it has 1"),
    ],
)
def test_a_second_stage_that_does_not_fit(second: EDVRConfig, message: str) -> None:
    with pytest.raises(ValueError, match=f"refine must be .*{message}"):
        check_second_stage(X4, second)
    check_second_stage(X4, X1)
