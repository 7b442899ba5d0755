from typing import cast

import pytest
import torch

from conftest import random_model
from vsedvr.infer import Tiling, default_tile_pad, feature_bytes, working_bytes
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.restore.facts import Source
from vsedvr.restore.settings import RestoreSettings
from vsedvr.restore.tiles import Room, choose_tile

CPU = torch.device("cpu")
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
X1 = EDVRConfig(3, 3, 16, 5, 2, 1, 1, scale=1, num_tail_feat=8)
MODELS = {"first": random_model(X4), "second": random_model(X1)}


class FakeSource:
    width, height, format = 640, 360, "YUV420P8"


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> EDVR:
        return MODELS[name]

    monkeypatch.setattr("vsedvr.restore.tiles.load_model", load)


def chosen(settings: RestoreSettings, *budgets: int) -> tuple[int, int]:
    return choose_tile(cast(Source, FakeSource()), settings, [Room("cpu", "fp32", budget) for budget in budgets])


def needed(config: EDVRConfig, factor: int, tile: tuple[int, int], ensemble: int) -> int:
    size = factor * 360, factor * 640
    tiling = Tiling(*size, (factor * tile[0], factor * tile[1]), default_tile_pad(config), config)
    window = config.num_frame * feature_bytes(config, tiling.tiles[0], torch.float32)
    return ensemble * window + working_bytes(tiling, torch.float32, CPU, ensemble)


@pytest.mark.parametrize("ensemble", [1, 8])
@pytest.mark.parametrize("budget", [2000 << 20, 2800 << 20])
def test_one_tile_fits_both_stages_in_every_room(ensemble: int, budget: int) -> None:
    settings = RestoreSettings(model="first", refine="second", ensemble=ensemble)
    tile = chosen(settings, 64 << 30, budget)
    assert 0 < tile[0] * tile[1] < 640 * 360
    assert needed(X4, 1, tile, ensemble) <= budget // 2
    assert needed(X1, 4, tile, ensemble) <= budget // 2


def test_with_enough_memory_frames_are_whole() -> None:
    assert chosen(RestoreSettings(model="first", refine="second", ensemble=8), 64 << 30) == (0, 0)


def test_what_was_asked_for_stays() -> None:
    assert chosen(RestoreSettings(model="first", refine="second", tile=(64, 32)), 1 << 20) == (64, 32)
