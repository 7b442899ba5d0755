import logging
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from conftest import random_model
from vsedvr.infer import (
    Tiling,
    build_engine,
    check_tile,
    choose_tiling,
    clip_windows,
    feature_bytes,
    published_padding,
    working_bytes,
)
from vsedvr.infer.memory import SMALL_STEPS, Steps
from vsedvr.model import EDVR, EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        (EDVRConfig(), "reflection_circle"),
        (EDVRConfig(scale=1), "reflection_circle"),
        (EDVRConfig(with_predeblur=True), "replicate"),
        (EDVRConfig(scale=1, with_predeblur=True), "replicate"),
    ],
)
def test_the_padding_of_published_models_is_the_default(config: EDVRConfig, padding: str) -> None:
    assert published_padding(config) == padding
    assert clip_windows(config, 9).indices(0) == clip_windows(config, 9, padding).indices(0)


def test_windows_follow_the_network() -> None:
    config = EDVRConfig(num_frame=3, center_frame_idx=0)
    assert clip_windows(config, 20, "circle").indices(9) == [9, 10, 11]


class TestBuildEngine:
    @pytest.mark.parametrize(("free", "reserved"), [(8 << 30, 0), (2 << 30, 1 << 30), (1 << 30, 0), (1 << 30, 3 << 30), (0, 0)])
    def test_takes_half_of_what_is_free_and_not_reserved(
        self, monkeypatch: pytest.MonkeyPatch, free: int, reserved: int
    ) -> None:
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: free)
        engine = build_engine(random_model(X4), CPU, torch.float32, (1080, 1920), reserved_bytes=reserved)
        budget = max(0, free - reserved) // 2
        chosen = choose_tiling(Tiling.whole(1080, 1920, X4), torch.float32, CPU, budget)
        assert engine.tiling
        assert engine.tiling.tile == chosen.tile
        assert engine.workspace.cache.max_bytes == max(0, budget - working_bytes(chosen, torch.float32, CPU))

    def test_of_a_gpu_nothing_is_reserved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        built = Mock()
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: 8 << 30)
        monkeypatch.setattr("vsedvr.infer.build.Engine", built)
        for reserved in (0, 8 << 30):
            build_engine(random_model(X4), GPU, torch.float16, (1080, 1920), reserved_bytes=reserved)
        first, second = built.call_args_list
        assert first.kwargs == second.kwargs
        assert first.kwargs["cache_bytes"] > 1 << 30

    @pytest.mark.parametrize(("gib", "steps"), [(2, SMALL_STEPS), (8, Steps(None, False)), (24, Steps(None, True))])
    def test_of_a_gpu_spare_memory_goes_into_larger_steps(
        self, monkeypatch: pytest.MonkeyPatch, gib: int, steps: Steps
    ) -> None:
        free = gib << 30
        built = Mock()
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: free)
        monkeypatch.setattr("vsedvr.infer.build.Engine", built)
        monkeypatch.setattr("vsedvr.ops.cuda.is_available", lambda device: True)
        config = EDVRConfig()
        build_engine(EDVR(config), GPU, torch.float16, (480, 720))
        *_, tiling = built.call_args.args
        cache_bytes, chosen = built.call_args.kwargs["cache_bytes"], built.call_args.kwargs["steps"]
        assert chosen == steps
        assert cache_bytes + working_bytes(tiling, torch.float16, GPU, steps=steps) <= free // 2
        if steps != SMALL_STEPS:
            assert cache_bytes >= 5 * feature_bytes(config, tiling.tiles[0], torch.float16)

    def test_wrong_tiles_are_told_at_once(self) -> None:
        with pytest.raises(ValueError, match="tile must be"):
            build_engine(random_model(X4), CPU, torch.float32, (16, 16), tile=(16.0, 16))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("error", "kind", "message"),
        [
            (RuntimeError("CUDA error: no kernel image is available"), RuntimeError, "the network does not run on GPU 1"),
            (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), RuntimeError, "the network does not run on GPU 1"),
            (torch.OutOfMemoryError("CUDA out of memory"), MemoryError, "out of memory on GPU 1"),
            (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), MemoryError, "out of memory on GPU 1"),
        ],
    )
    @pytest.mark.parametrize("where", ["free_bytes", "Engine"])
    def test_a_gpu_that_does_not_work_has_a_way_out(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str, where: str
    ) -> None:
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: 8 << 30)
        monkeypatch.setattr(f"vsedvr.infer.build.{where}", Mock(side_effect=error))
        with pytest.raises(kind, match=rf"^{message}; device_index=-1 computes on the CPU \(.*{error}") as caught:
            build_engine(random_model(X4), GPU, torch.float16, (16, 16))
        assert caught.type is kind
        assert caught.value.__cause__ is error

    def test_other_errors_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for error, device in [(RuntimeError("shapes"), CPU), (MemoryError("smallest tiles"), GPU), (ValueError("no"), GPU)]:
            monkeypatch.setattr("vsedvr.infer.build.free_bytes", Mock(side_effect=error))
            with pytest.raises(type(error)) as caught:
                build_engine(random_model(X4), device, torch.float32, (16, 16))
            assert caught.value is error

    def test_engines_of_a_model_share_its_weights(self, caplog: pytest.LogCaptureFixture) -> None:
        model = random_model(X4)
        with caplog.at_level(logging.WARNING):
            engines = [build_engine(model, CPU, torch.float32, size) for size in ((16, 16), (20, 30))]
        assert engines[0].network is engines[1].network
        assert not caplog.records


class TestCheckTile:
    @pytest.mark.parametrize(
        "tile", [64, (64,), (64, -1), (64.0, 64), "ab", (64, 64, 64), (True, 64), (np.float32(64), 64), {}, [[1, 2], 3]]
    )
    def test_wrong_tiles(self, tile: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match=r"tile must be \(width, height\) in pixels of the clip, .* got "):
            check_tile(tile, None)

    @pytest.mark.parametrize("pad", [-1, 1.5, True, "8", [8], np.float64(8)])
    def test_wrong_pads(self, pad: int) -> None:
        with pytest.raises(ValueError, match=r"tile_pad must be .* got "):
            check_tile((0, 0), pad)

    @pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.int16])
    def test_whole_numbers_of_any_kind(self, kind: type[int]) -> None:
        check_tile((kind(100), kind(0)), kind(0))
        check_tile([kind(100), kind(200)], None)  # type: ignore[arg-type]
        check_tile(None, None)
