from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from conftest import random_model
from vs_clips import clip_of, pixels
from vsedvr.infer import Engine, Pending
from vsedvr.model import EDVRConfig

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
X2 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, scale=2, num_tail_feat=8)


class TestStills:
    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Records the frames that an engine was asked for."""
        numbers: list[int] = []
        launch = Engine.launch

        def counted(self: Engine, indices: Any, load: Any, **options: Any) -> Pending:
            numbers.append(indices[self.config.center])
            return launch(self, indices, load, **options)

        monkeypatch.setattr(Engine, "launch", counted)
        return numbers

    @pytest.mark.parametrize("sc", [True, False])
    @pytest.mark.parametrize("config", [None, X2, X4], ids=["x1", "x2", "x4"])
    def test_a_held_frame_is_computed_once(self, computed: list[int], sc: bool, config: EDVRConfig | None) -> None:
        model = random_model(*([config] if config else []))
        picture = torch.rand(1, 3, 16, 20)
        frames = torch.cat([torch.rand(4, 3, 16, 20), picture.expand(16, -1, -1, -1), torch.rand(4, 3, 16, 20)])
        restored = [
            pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model, sc=sc, padding="replicate").frames(prefetch=1)
        ]
        still = range(6, 18)  # windows of nothing but the picture
        assert sorted(computed) == [*range(7), *range(18, 24)]
        expected = Engine(model).restore([6] * 5, frames.__getitem__).double()
        assert all(torch.equal(restored[n], expected) for n in still)
        assert not torch.equal(restored[5], expected)

    def test_in_any_order(self, computed: list[int]) -> None:
        frames = torch.rand(2, 3, 16, 16).repeat_interleave(10, 0)
        model = random_model()
        linear = [pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model).frames()]
        restored = vsedvr.edvr(clip_of(frames), model)
        for n in (4, 15, 5, 9, 6, 3, 16, 0, 19, 10):
            assert torch.equal(pixels(restored.get_frame(n)), linear[n]), n

    def test_pictures_are_compared_bit_for_bit_and_everywhere(self, computed: list[int]) -> None:
        """One picture differs by the smallest possible step in one sample, another only in the sign of a 0."""
        frames = torch.rand(1, 3, 17, 16).expand(12, -1, -1, -1).clone()
        frames[:, 1, 16, 0] = 0
        frames[6, 2, 0, 15] += 2**-24
        frames[11, 1, 16, 0] = -0.0
        for _ in vsedvr.edvr(clip_of(frames), random_model(), padding="replicate").frames(prefetch=1):
            pass
        assert sorted(computed) == [0, *range(4, 12)]

    def test_one_that_is_not_finite_is_an_error_each_time(self) -> None:
        restored = vsedvr.edvr(clip_of(torch.full((6, 3, 16, 16), torch.nan)), random_model())
        for n in (2, 3):
            with pytest.raises(vs.Error, match=f"edvr: frame {n} cannot be restored: .*not finite"):
                restored.get_frame(n)


class TestAlpha:
    @staticmethod
    def with_alpha(clip: vs.VideoNode, format: vs.PresetVideoFormat, numbers: range) -> tuple[vs.VideoNode, list[Tensor]]:
        """Adds the prop _Alpha to some frames; returns the clip and the alphas of all frames."""
        info = core.get_video_format(format)
        peak = 1.0 if info.sample_type == vs.FLOAT else (1 << info.bits_per_sample) - 1
        ramp = torch.linspace(0, 1, clip.width).expand(clip.num_frames, 1, clip.height, clip.width)
        alphas = ramp * torch.linspace(0.2, 1, clip.num_frames).view(-1, 1, 1, 1) * peak
        marked = clip.std.ClipToProp(clip_of(alphas, format), prop="_Alpha")
        return clip.std.FrameEval(lambda n: marked if n in numbers else clip), list(alphas[:, 0].double())

    @pytest.mark.parametrize("format", [vs.GRAY8, vs.GRAY10, vs.GRAY16, vs.GRAYH, vs.GRAYS], ids=lambda format: format.name)
    @pytest.mark.parametrize("numbers", [range(6), range(3, 5)], ids=["all", "some"])
    def test_is_enlarged_with_the_picture(self, format: Any, numbers: range) -> None:
        clip, alphas = self.with_alpha(clip_of(torch.rand(6, 3, 16, 20)), format, numbers)
        restored = vsedvr.edvr(clip, random_model(X4))
        for n, alpha in enumerate(alphas):
            props = restored.get_frame(n).props
            assert ("_Alpha" in props) == (n in numbers)
            if n in numbers:
                large = props["_Alpha"]
                assert (large.format.id, large.width, large.height) == (format, 80, 64)
                values = torch.from_numpy(np.asarray(large[0]).astype(np.float64))
                means = values.view(16, 4, 20, 4).mean((1, 3))
                assert (means - alpha)[:, 2:-2].abs().max() <= 0.01 * alpha.max() + (0.5 if format != vs.GRAYS else 0)
                assert values.max() <= alpha.max() + 0.5

    def test_fits_the_picture_again(self) -> None:
        clip, _ = self.with_alpha(clip_of(torch.rand(6, 3, 16, 20)), vs.GRAYS, range(6))
        restored = vsedvr.edvr(clip, random_model(X2))
        alpha = restored.std.PropToClip("_Alpha")
        assert core.std.MaskedMerge(restored.std.BlankClip(), restored, alpha).get_frame(3).width == 40

    def test_stays_with_a_picture_of_the_same_size(self) -> None:
        clip, alphas = self.with_alpha(clip_of(torch.rand(6, 3, 16, 20)), vs.GRAY16, range(2, 6))
        restored = vsedvr.edvr(clip, random_model())
        assert "_Alpha" not in restored.get_frame(1).props
        values = np.asarray(restored.get_frame(4).props["_Alpha"][0]).astype(np.float64)
        assert (torch.from_numpy(values) - alphas[4]).abs().max() <= 1

    def test_of_a_held_picture_is_that_of_its_frame(self) -> None:
        clip, alphas = self.with_alpha(clip_of(torch.rand(1, 3, 16, 20).expand(6, -1, -1, -1).clone()), vs.GRAYS, range(6))
        restored = vsedvr.edvr(clip, random_model(X4))
        peaks = [np.asarray(frame.props["_Alpha"][0]).max() for frame in restored.frames()]
        assert peaks == pytest.approx([alpha.max().item() for alpha in alphas], rel=1e-5)


class TestErrors:
    def test_frames_that_are_not_finite(self) -> None:
        """The filter does not pass on garbage: rendering stops, and the error has the frame's number and the reason."""
        frames = torch.rand(8, 3, 16, 16)
        frames[6, 0, 3, 3] = torch.nan
        restored = vsedvr.edvr(clip_of(frames), model=random_model(), sc=False)
        assert pixels(restored.get_frame(1)).isfinite().all()
        with pytest.raises(
            vs.Error,
            match=r"edvr: frame 4 cannot be restored: frame 4 is not finite in fp32: source frame 6 has pixels that are not",
        ):
            restored.get_frame(4)

    def test_too_little_memory_for_a_frame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        restored = vsedvr.edvr(clip_of(torch.rand(6, 3, 16, 16)), random_model())

        def fail(self: Engine, indices: Any, load: Any, **options: Any) -> Pending:
            raise MemoryError("out of memory, and tile (16, 16) cannot be smaller")

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "launch", fail)
            with pytest.raises(
                vs.Error, match=r"edvr: frame 3 cannot be restored: out of memory, and tile \(16, 16\)"
            ) as caught:
                restored.get_frame(3)
        assert "During handling" not in str(caught.value)
        assert restored.get_frame(3).width == 16


def test_callbacks_see_the_frame_of_their_number() -> None:
    """Several threads request frames at the same time."""
    frames = torch.rand(30, 3, 16, 16)
    model = random_model()
    linear = [pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model).frames(prefetch=1)]
    restored = vsedvr.edvr(clip_of(frames), model)
    assert all(torch.equal(pixels(frame), linear[n]) for n, frame in enumerate(restored.frames(prefetch=12)))
    assert Counter(len(picture) for picture in linear) == {3: 30}
