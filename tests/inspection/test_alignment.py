"""Views of the alignment, for clips with known motion and networks with known alignment."""

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import TINY, moving_frames, random_model
from vsedvr.data.pairs import to_tensor
from vsedvr.infer import Engine, Tiling
from vsedvr.inspection.alignment import mean_length, view_window
from vsedvr.model import EDVR, EDVRConfig, FrameFeatures
from vsedvr.model.pcd import PCDAlignment

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


class Perfect(PCDAlignment):
    """Gives the reference's features, whatever the neighbour's are."""

    def forward(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        return ref.feat[0]


class Idle(PCDAlignment):
    """Leaves the neighbour's features where they are."""

    def forward(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        return nbr.feat[0]


def moving_clip(shift: tuple[int, int], height: int = 96, width: int = 128) -> list[Tensor]:
    return [to_tensor(frame) for frame in moving_frames(5, height, width, shift)]


def engine_with(config: EDVRConfig, alignment: type[PCDAlignment], height: int = 96, width: int = 128) -> Engine:
    model = random_model(config)
    pcd = alignment(config.num_feat, config.deformable_groups)
    pcd.load_state_dict(model.pcd_align.state_dict())
    model.pcd_align = pcd
    return Engine(model, tiling=Tiling.whole(height, width, config))


@pytest.mark.parametrize("shift", [(0, 2), (-1, 1)])
def test_the_flow_before_is_the_clips_motion(shift: tuple[int, int]) -> None:
    clip = moving_clip(shift)
    views = view_window(engine_with(X4, Perfect), range(5), clip.__getitem__)
    for place, view in enumerate(views, -2):
        inside = view.flow_before[16:-16, 16:-16]
        np.testing.assert_allclose(np.median(inside, axis=(0, 1)), [place * shift[1], place * shift[0]], atol=0.15)
        assert mean_length(inside) == pytest.approx(abs(place) * np.hypot(*shift), rel=0.15, abs=0.05)
        assert mean_length(view.flow_after) == 0, "aligned perfectly"
        assert (view.after == views[2].after).all()


def test_no_alignment_leaves_the_motion() -> None:
    views = view_window(engine_with(X4, Idle), range(5), moving_clip((0, 2)).__getitem__)
    for view in views:
        assert (view.after == view.before).all()
        assert mean_length(view.flow_after) == mean_length(view.flow_before)


def test_flow_is_in_pixels_of_the_clip() -> None:
    """In a network that does not enlarge, features are four times smaller than the clip."""
    clip = moving_clip((0, 8), 192, 256)
    views = view_window(engine_with(TINY, Perfect, 192, 256), range(5), clip.__getitem__)
    assert views[3].before.shape == (48, 64)
    assert np.median(views[3].flow_before[8:-8, 8:-8, 0]) == pytest.approx(8, abs=1)


def test_views_are_of_the_network_as_it_is() -> None:
    model, clip = random_model(X4), moving_clip((1, 2), 34, 41)
    engine = Engine(model, tiling=Tiling.whole(34, 41, X4))
    expected = engine.restore(range(5), clip.__getitem__)
    views = view_window(engine, range(5), clip.__getitem__)
    assert torch.equal(engine.restore(range(5), clip.__getitem__), expected)
    assert not any(module._forward_hooks for module in engine.model.modules()), "no hook is left"

    with torch.inference_mode():
        padded = [torch.nn.functional.pad(frame[None], (0, 3, 0, 2), "replicate") for frame in clip]
        features = [model.extract(frame) for frame in padded]
        aligned = [model.align(frame, features[2]) for frame in features]
        fusion = model.fusion
        reference = fusion.get_submodule("temporal_attn1")(aligned[2])
        for place, view in enumerate(views):
            embedding = fusion.get_submodule("temporal_attn2")(aligned[place])
            attention = (embedding * reference).sum(1)[0].sigmoid()[:34, :41] * 255
            assert view.attention is not None
            assert view.attention.shape == view.before.shape == (34, 41)
            assert np.abs(view.attention - attention.numpy()).max() <= 0.51
            mean = aligned[place].mean(1)[0, :34, :41].numpy()
            middle = (view.after > 20) & (view.after < 235)
            assert np.corrcoef(view.after[middle], mean[middle])[0, 1] > 0.999


def test_a_frame_may_stand_in_the_window_twice() -> None:
    clip = moving_clip((0, 2))
    views = view_window(Engine(random_model(X4), tiling=Tiling.whole(96, 128, X4)), [1, 1, 1, 2, 3], clip.__getitem__)
    assert [view.number for view in views] == [1, 1, 1, 2, 3]
    for view in views[:2]:
        assert (view.after == views[2].after).all()
        assert mean_length(view.flow_before) == 0


def test_without_tsa_there_is_no_attention() -> None:
    config = EDVRConfig(3, 3, 8, 5, 2, 1, 1, with_tsa=False, num_tail_feat=8)
    views = view_window(engine_with(config, Idle), range(5), moving_clip((0, 1)).__getitem__)
    assert [view.attention for view in views] == [None] * 5


def test_pictures_too_small_or_in_tiles_are_refused() -> None:
    clip = moving_clip((0, 1), 15, 64)
    with pytest.raises(ValueError, match="features of 64x15 are too small for optical flow, which needs 16x16"):
        view_window(engine_with(X4, Idle, 15, 64), range(5), clip.__getitem__)
    engine = Engine(random_model(X4), tiling=Tiling(96, 128, (32, 32), 4, X4))
    with pytest.raises(MemoryError, match="whole picture"):
        view_window(engine, range(5), moving_clip((0, 1)).__getitem__)
    assert not any(module._forward_hooks for module in engine.model.modules())


def test_the_given_model_has_no_hooks() -> None:
    model: EDVR = random_model(X4)
    view_window(Engine(model, tiling=Tiling.whole(96, 128, X4)), range(5), moving_clip((0, 1)).__getitem__)
    assert not any(module._forward_hooks for module in model.modules())
