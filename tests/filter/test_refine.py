"""Two stages in one call, against the reference's networks and against two calls."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from conftest import TINY, random_model
from oracle import array, meta, weights
from vs_clips import blank, clip_of, pixels
from vsedvr.infer import Engine, Pending, memory_budget
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import load_model

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
GRAY_X4 = EDVRConfig(1, 1, 8, 5, 2, 1, 1, num_tail_feat=8)
GRAY_X1 = EDVRConfig(1, 1, 8, 3, 2, 1, 1, scale=1, num_tail_feat=8)


def second_model() -> EDVR:
    """Another network than random_model, with a window of three."""
    model = random_model(EDVRConfig(3, 3, 8, 3, 2, 1, 2, scale=1, num_tail_feat=8))
    with torch.no_grad():
        model.conv_last.bias.add_(0.05)  # type: ignore[union-attr]
    return model


def all_pixels(clip: vs.VideoNode) -> Tensor:
    return torch.stack([pixels(frame) for frame in clip.frames()])


@pytest.mark.parametrize("case", ["two_stage_sr", "two_stage_deblur"])
def test_equals_the_reference(case: str) -> None:
    """Between the stages the reference rounds to 8 bits, or does nothing; here pictures are clamped."""
    restored = all_pixels(
        vsedvr.edvr(clip_of(array(case, "input_seq")), weights(case, "stage1"), refine=weights(case, "stage2"), sc=False)
    )
    between, second = array(case, "stage1").clamp(0, 1), load_model(weights(case, "stage2"))
    for n, window in meta(case)["index_table"].items():
        with torch.inference_mode():
            expected = second(between[window][None])[0].clamp(0, 1)
        # The second stage of these random weights makes ten times as much of the rounding errors of the first, 5e-5
        assert (restored[int(n)] - expected).abs().max() < 5e-4


class TestEqualsTwoCalls:
    @pytest.mark.parametrize("config", [TINY, X4], ids=["x1", "x4"])
    @pytest.mark.parametrize("format", [vs.RGBS, vs.YUV420P8, vs.RGB24, vs.GRAY16], ids=lambda format: format.name)
    def test_with_float_in_between(self, config: EDVRConfig, format: Any) -> None:
        first, second, frames = random_model(config), second_model(), torch.rand(7, 3, 18, 34)
        clip = clip_of(frames).resize.Bicubic(format=format, **({} if format in (vs.RGBS, vs.RGB24) else {"matrix": 1}))
        once = vsedvr.edvr(clip, first, refine=second, sc=False, output_format=vs.RGBS)
        between = vsedvr.edvr(clip, first, sc=False, output_format=vs.RGBS)
        assert torch.equal(all_pixels(once), all_pixels(vsedvr.edvr(between, second, sc=False)))

    def test_in_tiles_and_in_any_order(self) -> None:
        first, second, frames = random_model(X4), second_model(), torch.rand(5, 3, 18, 27)
        once = vsedvr.edvr(clip_of(frames), first, refine=second, sc=False, tile=(12, 8), tile_pad=3, ensemble=4)
        between = vsedvr.edvr(clip_of(frames), first, sc=False, tile=(12, 8), tile_pad=3, ensemble=4)
        twice = vsedvr.edvr(between, second, sc=False, tile=(48, 32), tile_pad=12, ensemble=4)
        expected = all_pixels(twice)
        for n in (4, 0, 2, 1, 3):
            assert torch.equal(pixels(once.get_frame(n)), expected[n]), n

    def test_of_models_by_path_name_and_object(self, tiny_x1: Path, tiny_model: EDVR) -> None:
        frames = torch.rand(3, 3, 16, 16)
        results = [
            vsedvr.edvr(clip_of(frames), model, refine=refine).get_frame(1)
            for model, refine in ((tiny_x1, "denoise"), (tiny_model, "denoise"), (str(tiny_x1), vsedvr.load_model("denoise")))
        ]
        assert all(torch.equal(pixels(result), pixels(results[0])) for result in results)

    def test_each_with_the_padding_of_its_kind(self) -> None:
        frames = torch.rand(6, 3, 16, 16)
        second = random_model(EDVRConfig(3, 3, 4, 5, 2, 1, 1, scale=1, with_predeblur=True, num_tail_feat=4))
        once = vsedvr.edvr(clip_of(frames), "denoise", refine=second, sc=False)
        between = vsedvr.edvr(clip_of(frames), "denoise", sc=False, padding="reflection_circle")
        twice = vsedvr.edvr(between, second, sc=False, padding="replicate")
        for n in (0, 5):
            assert torch.equal(pixels(once.get_frame(n)), pixels(twice.get_frame(n))), n

    @pytest.mark.parametrize("format", [vs.GRAYS, vs.YUV444PS], ids=lambda format: format.name)
    def test_of_networks_of_one_channel(self, format: Any) -> None:
        first, second = random_model(GRAY_X4), random_model(GRAY_X1)
        planes = 1 if format == vs.GRAYS else 3
        clip = clip_of(torch.rand(6, planes, 16, 18) * 0.9, format, _Matrix=1, _Range=1)
        once = vsedvr.edvr(clip, first, refine=second, sc=False)
        twice = vsedvr.edvr(vsedvr.edvr(clip, first, sc=False), second, sc=False)
        assert torch.equal(all_pixels(once), all_pixels(twice))

    def test_of_gray_in_and_out(self) -> None:
        """Colours of a network that tints gray reach the second stage; the result is their mean."""
        first, second, gray = random_model(X4), second_model(), torch.rand(6, 1, 16, 18) * 1.4 - 0.2
        once = vsedvr.edvr(clip_of(gray, vs.GRAYS), first, refine=second, sc=False)
        between = vsedvr.edvr(clip_of(gray, vs.GRAYS), first, sc=False, output_format=vs.RGBS)
        expected = all_pixels(vsedvr.edvr(between, second, sc=False)).mean(1, keepdim=True)
        assert (all_pixels(once) - expected).abs().max() < 1e-6


class TestScenes:
    def test_cuts_of_the_source_are_those_of_both_stages(self) -> None:
        """The first stage makes all green alike, which hides the cut: in its pictures the second would find none."""
        frames = torch.rand(10, 3, 16, 16) * 0.1
        frames[5:, 1] += 0.8
        hiding, second = random_model(), second_model()
        with torch.no_grad():
            hiding.conv_last.weight.zero_()
            hiding.conv_last.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # type: ignore[union-attr]

        def restored(part: Tensor) -> Tensor:
            return all_pixels(vsedvr.edvr(clip_of(part), hiding, refine=second, padding="replicate"))

        expected = torch.cat([restored(frames[:5]), restored(frames[5:])])
        assert torch.equal(restored(frames), expected)
        between = vsedvr.edvr(clip_of(frames), hiding, padding="replicate", output_format=vs.RGBS)
        assert not torch.equal(all_pixels(vsedvr.edvr(between, second, padding="replicate")), expected)

    def test_props_tell_the_cuts_of_both_stages(self) -> None:
        frames, first, second = torch.rand(8, 3, 16, 16), random_model(), second_model()
        marks = core.std.Splice([blank(length=4), blank(length=1).std.SetFrameProps(_SceneChangePrev=1), blank(length=3)])
        clip = clip_of(frames).std.CopyFrameProps(marks)
        restored = vsedvr.edvr(clip, first, refine=second, padding="replicate")
        parts = [
            vsedvr.edvr(clip_of(part), first, refine=second, padding="replicate", sc=False) for part in (frames[:4], frames[4:])
        ]
        assert torch.equal(all_pixels(restored), torch.cat([all_pixels(part) for part in parts]))

    def test_the_source_and_the_first_stage_render_each_frame_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frames, rendered, computed = torch.rand(12, 3, 16, 16), [], []
        source = clip_of(frames)

        def note(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
            rendered.append(n)
            return f

        launch, first, second = Engine.launch, random_model(X4), second_model()

        def counted(self: Engine, indices: Any, load: Any, **options: Any) -> Pending:
            computed.append((self.config.scale, indices[self.config.center]))
            return launch(self, indices, load, **options)

        monkeypatch.setattr(Engine, "launch", counted)
        clip = source.std.ModifyFrame(source, note)
        for _ in vsedvr.edvr(clip, first, refine=second, matrix="709").frames(prefetch=2):
            pass
        assert sorted(rendered) == list(range(12))
        assert sorted(computed) == [(scale, n) for scale in (1, 4) for n in range(12)]


class TestKeeps:
    def test_props_and_what_lies_outside(self) -> None:
        frames = torch.rand(5, 3, 16, 16)
        frames[2, :, 8, 8] = 3.0
        clip = clip_of(frames, _Matrix=0, _Range=1, mine="kept")
        restored = vsedvr.edvr(clip, random_model(), refine=second_model()).get_frame(2)
        assert restored.props["mine"] == "kept"
        assert pixels(restored)[:, 8, 8].min() > 2

    @pytest.mark.parametrize(("config", "width"), [(TINY, 20), (X4, 80)], ids=["x1", "x4"])
    def test_alpha_in_the_size_of_the_result(self, config: EDVRConfig, width: int) -> None:
        clip = clip_of(torch.rand(4, 3, 16, 20))
        clip = clip.std.ClipToProp(clip_of(torch.full((4, 1, 16, 20), 70), vs.GRAY8), prop="_Alpha")
        alpha = vsedvr.edvr(clip, random_model(config), refine=second_model()).get_frame(1).props["_Alpha"]
        assert (alpha.width, alpha.format.id) == (width, vs.GRAY8)
        assert (np.asarray(alpha[0]) == 70).all()

    def test_the_output_format(self) -> None:
        clip = blank(format=vs.YUV420P8).std.SetFrameProps(_Matrix=1)
        restored = vsedvr.edvr(clip, random_model(X4), refine=second_model(), output_format=vs.YUV422P10)
        frame = restored.get_frame(0)
        assert (frame.format.id, frame.width, frame.props["_Matrix"]) == (vs.YUV422P10, 64, 1)


class TestErrors:
    @pytest.mark.parametrize(
        ("refine", "message"),
        [
            (lambda: random_model(X4), "refine must be a model that keeps the size, it enlarges 4 times"),
            (lambda: random_model(GRAY_X1), "refine must be a model of as many channels as model, 3; it has 1"),
            (lambda: "none.pth", "no checkpoint at 'none.pth'"),
            (lambda: 3, "a model is a path or a name, got a value of the type int"),
        ],
    )
    def test_name_the_value_and_the_way_out(self, refine: Any, message: str) -> None:
        with pytest.raises(vs.Error, match=f"^edvr: .*{message}"):
            vsedvr.edvr(blank(), random_model(), refine=refine())

    @pytest.mark.parametrize(("ensemble", "got"), [(2, "2"), ("3", "3"), (0, "0"), (True, "True"), ("x", "'x'")])
    def test_of_an_ensemble_that_there_is_not(self, ensemble: Any, got: str) -> None:
        with pytest.raises(vs.Error, match=f"^edvr: ensemble must be .*, got {got}$"):
            vsedvr.edvr(blank(), random_model(), ensemble=ensemble)

    def test_in_the_second_stage_name_the_frame(self) -> None:
        second = second_model()
        torch.nn.init.constant_(second.conv_last.bias, torch.nan)  # type: ignore[arg-type]
        restored = vsedvr.edvr(blank(length=5), random_model(), refine=second)
        with pytest.raises(vs.Error, match=r"edvr: frame 3 cannot be restored: .*the weights of the model are broken"):
            restored.get_frame(3)


def test_ensemble_is_that_of_the_engine() -> None:
    model, frames = random_model(X4), torch.rand(5, 3, 16, 24)
    for ensemble in (1, 4, "8"):
        restored = vsedvr.edvr(clip_of(frames), model, sc=False, ensemble=ensemble)  # type: ignore[arg-type]
        expected = Engine(model, ensemble=int(ensemble)).restore(range(5), frames.__getitem__)
        assert torch.equal(pixels(restored.get_frame(2)), expected.double())


def test_one_line_in_the_log_tells_both_models(caplog: pytest.LogCaptureFixture, tiny_x1: Path) -> None:
    caplog.set_level("INFO", "vsedvr")
    clip, model = blank(width=64, height=64), random_model(X4)
    vsedvr.edvr(clip, model, refine=tiny_x1, device_index=-1)
    vsedvr.edvr(clip, model, refine=tiny_x1, device_index=-1, tile=(16, 16), tile_pad=0, ensemble=8)
    assert [record.getMessage() for record in caplog.records if record.levelname == "INFO"] == [
        f"model (an EDVR), x4, then {tiny_x1}, x1, on cpu in fp32, pictures whole",
        f"model (an EDVR), x4, then {tiny_x1}, x1, on cpu in fp32, tiles of (16, 16), tile_pad 0 then tiles of (64, 64), "
        "tile_pad 0, self-ensemble of 8",
    ]


def test_both_stages_take_no_more_than_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Engine] = []

    class Noted(Engine):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            engines.append(self)

    monkeypatch.setattr("vsedvr.infer.build.Engine", Noted)
    monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: 8 << 30)
    monkeypatch.setattr("vsedvr.filter.graph.cache_may_grow", lambda: 0)
    vsedvr.edvr(blank(width=640, height=360), random_model(X4), refine=second_model(), device_index=-1)
    assert len(engines) == 2
    assert sum(engine.workspace.cache.max_bytes for engine in engines) < memory_budget(torch.device("cpu")) == 4 << 30
