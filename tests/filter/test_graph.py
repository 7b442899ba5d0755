import random
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import Vspipe, random_model
from vs_clips import blank, clip_of, pixels
from vsedvr.infer import Engine, Tiling, choose_tiling, clip_windows, default_tile_pad
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.timeline import PADDINGS

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


class TestPixels:
    @pytest.mark.parametrize("padding", [None, *PADDINGS])
    @pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 18)])
    def test_equal_the_network(self, padding: str | None, h: int, w: int) -> None:
        model, frames = random_model(X4), torch.rand(8, 3, h, w)
        restored = vsedvr.edvr(clip_of(frames), model=model, padding=padding, sc=False)
        assert (restored.width, restored.height, restored.num_frames) == (4 * w, 4 * h, 8)
        assert restored.fps == Fraction(24000, 1001)
        engine = Engine(model)
        for n in range(8):
            indices = clip_windows(X4, 8, padding).indices(n)
            expected = engine.restore(indices, frames.__getitem__)
            assert torch.equal(pixels(restored.get_frame(n)), expected.double())

    @pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 20])
    def test_do_not_depend_on_the_order_of_requests(self, num_frames: int) -> None:
        model, frames = random_model(), torch.rand(num_frames, 3, 18, 34)
        linear = [pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model=model).frames()]
        numbers = list(range(num_frames))
        for order in (numbers[::-1], random.Random(1).sample(numbers, num_frames), [num_frames // 2] * 2):
            restored = vsedvr.edvr(clip_of(frames), model=model)
            for n in order:
                assert torch.equal(pixels(restored.get_frame(n)), linear[n])

    def test_a_centre_other_than_the_middle(self) -> None:
        config = EDVRConfig(3, 3, 4, 3, 2, 1, 1, center_frame_idx=0, scale=1, num_tail_feat=4)
        model, frames = random_model(config), torch.rand(6, 3, 16, 16)
        restored = vsedvr.edvr(clip_of(frames), model=model, sc=False)
        expected = Engine(model).restore([2, 3, 4], frames.__getitem__)
        assert torch.equal(pixels(restored.get_frame(2)), expected.double())

    def test_a_model_by_path(self, tiny_x1: Path, tiny_model: EDVR) -> None:
        frames = torch.rand(5, 3, 16, 16)
        by_path, by_object = (vsedvr.edvr(clip_of(frames), model=model) for model in (tiny_x1, tiny_model))
        assert torch.equal(pixels(by_path.get_frame(0)), pixels(by_object.get_frame(0)))

    def test_the_default_model_is_better_than_bicubic(self) -> None:
        """The clip is a pattern with edges that moves by fractions of the small picture's pixels."""
        y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
        sharp = torch.stack([((((x + t) // 9 + y // 7) % 2) * 0.6 + 0.2).expand(3, -1, -1) for t in range(9)]).float()
        gt = clip_of(sharp)
        lq = gt.resize.Bicubic(32, 24, filter_param_a=0, filter_param_b=0.5)
        bicubic = lq.resize.Bicubic(128, 96, filter_param_a=0, filter_param_b=0.5)
        expected = pixels(gt.get_frame(4))
        mse = [(pixels(clip.get_frame(4)) - expected).square().mean() for clip in (vsedvr.edvr(lq), bicubic)]
        assert mse[0] < 0.8 * mse[1]


class TestTiles:
    def test_given(self) -> None:
        model, frames = random_model(X4), torch.rand(5, 3, 43, 70)
        for pad, pixels_around in ((5, 5), (None, default_tile_pad(X4))):
            restored = vsedvr.edvr(clip_of(frames), model=model, tile=(24, 16), tile_pad=pad)
            engine = Engine(model, tiling=Tiling(43, 70, (24, 16), pixels_around, X4))
            assert torch.equal(pixels(restored.get_frame(2)), engine.restore(range(5), frames.__getitem__).double())

    @pytest.mark.parametrize("free", [0, 1 << 27, 1 << 40])
    def test_automatic_from_the_free_memory(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        built: list[Engine] = []

        class Built(Engine):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                built.append(self)

        monkeypatch.setattr("vsedvr.infer.build.Engine", Built)
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: free)
        monkeypatch.setattr("vsedvr.filter.graph.cache_may_grow", lambda: 0)
        clip = blank(width=960, height=540)
        model = random_model(X4)
        vsedvr.edvr(clip, model=model)
        whole = Tiling.whole(540, 960, X4)
        expected = choose_tiling(whole, torch.float32, torch.device("cpu"), free // 2)
        assert built[-1].tiling
        assert built[-1].tiling.tiles == expected.tiles
        assert (expected.tiles == whole.tiles) == (free == 1 << 40)
        assert 0 <= built[-1].workspace.cache.max_bytes <= free // 2
        monkeypatch.setattr("vsedvr.filter.graph.cache_may_grow", lambda: free)
        vsedvr.edvr(clip, model=model)
        assert built[-1].tiling
        assert built[-1].tiling.smaller() is None, "what the core's cache may take is not free"
        vsedvr.edvr(clip, model=model, tile=(0, 0))
        assert built[-1].tiling
        assert built[-1].tiling.tiles == whole.tiles, "off is off"


class TestLongClips:
    """Players may pass clips of 134 million frames, and std.Loop makes clips of the maximum length."""

    @pytest.mark.parametrize("length", [134_217_728, 2**31 - 1])
    def test_cost_no_more_than_short_ones(self, length: int) -> None:
        model = random_model()
        short = clip_of(torch.rand(7, 3, 16, 16))
        vsedvr.edvr(short, model=model)  # what is loaded once
        clip = short.std.Loop()[:length]
        process = psutil.Process()
        before = process.memory_info().rss
        tracemalloc.start()
        restored = vsedvr.edvr(clip, model=model, padding="replicate")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20
        assert process.memory_info().rss - before < 20 << 20
        assert restored.num_frames == length
        looped = vsedvr.edvr(short.std.Loop(5), model=model, padding="replicate")
        middle = length // 2 // 7 * 7
        for n, same in ((0, 0), (1, 1), (2, 2), (middle + 3, 17), (middle - 2, 12)):
            assert torch.equal(pixels(restored.get_frame(n)), pixels(looped.get_frame(same))), n
        end = vsedvr.edvr(clip[length - 14 :], model=model, padding="replicate")
        for n in (1, 2, 3):
            assert torch.equal(pixels(restored.get_frame(length - n)), pixels(end.get_frame(14 - n))), n

    def test_have_a_graph_of_the_same_size(self, vspipe: Vspipe, tiny_x1: Path) -> None:
        script = f"""
import vapoursynth as vs
import vsedvr
clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=int(length), keep=True)
vsedvr.edvr(clip.std.SetFrameProps(_Matrix=1), {str(tiny_x1)!r}).set_output()
"""
        graphs = [vspipe(script, "-g", "simple", "-a", f"length={length}") for length in (20, 134_217_728)]
        assert all(graph.returncode == 0 for graph in graphs)
        assert graphs[0].stdout.count(b"label") == graphs[1].stdout.count(b"label") > 20
