import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling, clip_windows
from vsedvr.infer.memory import Steps
from vsedvr.model import EDVR, EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


def whole_window(model: EDVR, clip: Tensor, indices: list[int]) -> Tensor:
    """Restores the whole window with the network, padded to its multiple and cropped."""
    h, w = clip.shape[-2:]
    multiple, scale = model.config.size_multiple, model.config.scale
    lq = F.pad(clip[indices], (0, -w % multiple, 0, -h % multiple), "replicate")[None]
    with torch.inference_mode():
        return model(lq)[0, :, : h * scale, : w * scale].clamp(0, 1)


@pytest.mark.parametrize("config", [TINY, X4, EDVRConfig(3, 3, 4, 7, 1, 0, 1, with_tsa=False, num_tail_feat=4)])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 50), (17, 16), (32, 16)])
def test_equals_the_network_on_whole_windows(config: EDVRConfig, h: int, w: int) -> None:
    model, clip = random_model(config), torch.rand(8, 3, h, w)
    engine = Engine(model)
    for n in range(len(clip)):
        indices = clip_windows(config, len(clip), "reflection_circle").indices(n)
        out = engine.restore(indices, clip.__getitem__)
        assert out.shape == (3, h * config.scale, w * config.scale)
        assert out.dtype == torch.float32
        assert (out - whole_window(model, clip, indices)).abs().max() < 1e-5


def calls_of(engine: Engine, method: str) -> list[int]:
    """Counts calls of one of the network's methods."""
    original: Callable[..., object] = getattr(engine.model, method)
    calls: list[int] = []

    def counted(*args: object) -> object:
        calls.append(1)
        return original(*args)

    setattr(engine.model, method, counted)
    return calls


def test_no_work_is_repeated() -> None:
    engine, clip = Engine(random_model()), torch.rand(9, 3, 16, 16)
    extracts, aligns = calls_of(engine, "extract"), calls_of(engine, "align")
    loaded: list[int] = []

    def load(i: int) -> Tensor:
        loaded.append(i)
        return clip[i]

    for n in range(9):
        engine.restore(clip_windows(TINY, 9, "reflection").indices(n), load)
    assert sorted(loaded) == list(range(9)), "each frame is loaded once"
    assert len(extracts) == 9, "each frame is extracted once"
    assert len(aligns) == 3 + 4 + 5 * 5 + 4 + 3, "a frame that stands in a window twice is aligned once"


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_pixels_do_not_depend_on_the_order_or_the_cache(cache_bytes: int) -> None:
    model, clip = random_model(), torch.rand(12, 3, 20, 33)
    windows = [clip_windows(TINY, 12, "reflection_circle").indices(n) for n in range(12)]
    linear = Engine(model)
    expected = [linear.restore(indices, clip.__getitem__) for indices in windows]
    other = Engine(model, cache_bytes=cache_bytes)
    for n in [11, 0, 7, 7, 3, 4, 2, 10, 1, 9, 8, 6, 5]:
        assert torch.equal(other.restore(windows[n], clip.__getitem__), expected[n])


@pytest.mark.parametrize("steps", [Steps(None, False), Steps(None, True), Steps(5, True)])
@pytest.mark.parametrize("tile", [(0, 0), (16, 16)])
def test_steps_change_nothing_but_the_rounding(steps: Steps, tile: tuple[int, int]) -> None:
    """Repeated frames at the ends of the clip included: each is in the batch once."""
    model, clip = random_model(X4), torch.rand(7, 3, 37, 45)
    tiling = Tiling(37, 45, tile, 4, X4)
    small, other = Engine(model, tiling=tiling), Engine(model, tiling=tiling, steps=steps)
    windows = [clip_windows(X4, 7, "replicate").indices(n) for n in (0, 3, 6)]
    expected = [small.restore(indices, clip.__getitem__) for indices in windows]
    at_once, alone = calls_of(other, "align_all"), calls_of(other, "align")
    for indices, right in zip(windows, expected, strict=True):
        assert (other.restore(indices, clip.__getitem__) - right).abs().max() < 1e-5
    assert len(at_once) == (3 * len(tiling.tiles) if steps.at_once else 0)
    assert len(alone) == (len(at_once) or 11 * len(tiling.tiles)), "align_all calls align on all of them"


def test_the_cache_is_bounded_in_bytes_and_frames() -> None:
    clip = torch.rand(40, 3, 16, 16)
    probe = Engine(random_model())
    probe.restore([0] * 5, clip.__getitem__)
    one_frame = probe.workspace.cache.nbytes
    # l1 4 * 4, l2 2 * 2, l3 1 * 1 positions, 8 features in fp32: feat, two shares of the offsets, one of the cascade
    assert one_frame == 3 * 16 * 16 * 4 + 4 * 8 * (3 * (16 + 4 + 1) + 16)
    engine = Engine(random_model(), cache_bytes=3 * one_frame)
    roomy = Engine(random_model())
    for n in range(40):
        for each in (engine, roomy):
            each.restore(clip_windows(TINY, 40, "replicate").indices(n), clip.__getitem__)
        assert engine.workspace.cache.nbytes <= 3 * one_frame
        assert roomy.workspace.cache.nbytes <= 7 * one_frame
    assert [i for i, _ in engine.workspace.cache.frames] == [37, 38, 39]


def test_the_given_model_is_left_alone() -> None:
    model = random_model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Engine(model, dtype=torch.bfloat16).restore([0] * 5, lambda i: torch.rand(3, 16, 16))
    assert model.training
    assert all(torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in model.state_dict().items())


def test_bfloat16_predicts_offsets_with_the_weights_of_float32() -> None:
    model = random_model()
    engine = Engine(model, dtype=torch.bfloat16)
    offsets = [name for name, _ in model.named_parameters() if "conv_offset" in name]
    assert len(offsets) == 8
    for name in offsets:
        assert torch.equal(engine.model.get_parameter(name), model.get_parameter(name))
    assert engine.model.conv_first.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "shape", [(3, 24, 28), (3, 16, 15), (3, 15, 16), (3, 8, 8), (1, 16, 16), (4, 16, 16), (16, 16), (1, 3, 16, 16)]
)
def test_frames_of_another_shape_are_an_error(shape: tuple[int, ...], cached: bool) -> None:
    """The frame may be anywhere in the window, and the engine may know its size from a tiling or from the first frame."""
    engine = Engine(random_model(), tiling=None if cached else Tiling.whole(16, 16, TINY))
    clip = [torch.rand(3, 16, 16) for _ in range(6)]
    if cached:
        engine.restore([0] * 5, clip.__getitem__)
    expected = rf"frame 4 has the shape {re.escape(str(shape))}, but this engine restores frames of the shape \(3, 16, 16\)"
    with pytest.raises(ValueError, match=expected):
        engine.restore(range(1, 6), lambda i: torch.rand(shape) if i == 4 else clip[i])
    after = engine.restore(range(1, 6), clip.__getitem__)
    assert torch.equal(after, Engine(random_model()).restore(range(1, 6), clip.__getitem__)), "the engine works on"


def test_output_is_clamped() -> None:
    model = random_model()
    torch.nn.init.constant_(model.conv_last.bias, 5.0)  # type: ignore[arg-type]
    out = Engine(model).restore([0] * 5, lambda i: torch.rand(3, 16, 16))
    assert out.max() == 1


def moving_texture() -> Tensor:
    """Makes smooth pictures that move by two pixels a frame."""
    texture = F.interpolate(torch.rand(1, 3, 16, 28), scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    return torch.stack([texture[:, :, 2 * n : 2 * n + 96] for n in range(5)])


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", torch.bfloat16),
        ("cpu", torch.float16),
        pytest.param("cuda", torch.bfloat16, marks=pytest.mark.gpu),
        pytest.param("cuda", torch.float16, marks=pytest.mark.gpu),
    ],
)
def test_half_precisions_are_within_55_db_of_float32(device: str, dtype: torch.dtype) -> None:
    """The test uses the embedded model."""
    from vsedvr.weights import load_model  # with its packages, which the other tests on a GPU do without

    model, clip = load_model("small"), moving_texture()
    exact = Engine(model).restore(range(5), clip.__getitem__)
    coarse = Engine(model, device, dtype).restore(range(5), clip.__getitem__)
    assert 0 < (exact - coarse).square().mean() < 10 ** (-55 / 10)


class TestNotFinite:
    """Frames whose values overflow the engine's precision."""

    @staticmethod
    def loud() -> EDVR:
        """A network of which bright pictures, and they alone, overflow float16 before conv_last, which makes them small again.

        Dark ones stay small all the way, since there are no biases.
        """
        model = random_model(X4)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and "conv_offset" not in name:
                torch.nn.init.zeros_(parameter)
        model.upconv2.weight.data *= 1e5
        model.conv_hr.weight.data *= 1e5
        model.conv_last.weight.data /= 1e10
        return model

    def test_are_computed_again_in_float32_and_the_others_are_not(self, caplog: pytest.LogCaptureFixture) -> None:
        model, clip = self.loud(), torch.rand(12, 3, 20, 24) * 1e-3
        clip[5:7] = torch.rand(2, 3, 20, 24)
        tiling = Tiling(20, 24, (12, 12), 4, X4)
        windows = [clip_windows(X4, 12, "replicate").indices(n) for n in range(12)]
        exact, engine, other = (
            Engine(model, dtype=dtype, tiling=tiling) for dtype in (torch.float32, torch.float16, torch.float16)
        )
        with caplog.at_level(logging.WARNING, "vsedvr"):
            restored = [engine.restore(window, clip.__getitem__) for window in windows]
        bright = [torch.equal(restored[n], exact.restore(windows[n], clip.__getitem__)) for n in range(12)]
        assert not any(bright[:3] + bright[9:])
        assert all(bright[5:7])
        assert all(picture.isfinite().all() for picture in restored)
        assert [record.getMessage() for record in caplog.records] == [
            f"frame {bright.index(True)} is not finite in fp16; such frames are computed again in fp32. "
            "With precision fp32 all are, at once"
        ]
        for n in (11, 6, 4, 0, 5):
            assert torch.equal(other.restore(windows[n], clip.__getitem__), restored[n]), "in any order"

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_one_value_is_enough(self, dtype: torch.dtype, value: float) -> None:
        """The clamp would hide infinity, so the check must come before it."""
        model, clip = random_model(X4), torch.rand(5, 3, 20, 24)
        engine = Engine(model, dtype=dtype)

        def spoil(module: Any, args: Any, out: Tensor) -> Tensor:
            out[0, 1, 7, 5] = value
            return out

        engine.model.conv_last.register_forward_hook(spoil)
        assert torch.equal(engine.restore(range(5), clip.__getitem__), Engine(model).restore(range(5), clip.__getitem__))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_in_float32_either_is_an_error(self, dtype: torch.dtype) -> None:
        model, clip = random_model(X4), torch.rand(5, 3, 20, 24)
        torch.nn.init.constant_(model.conv_hr.bias, torch.nan)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match=r"^frame 2 is not finite in fp32: the weights of the model are broken$"):
            Engine(model, dtype=dtype).restore(range(5), clip.__getitem__)

    def test_pictures_that_are_not_are_told_from_weights(self) -> None:
        clip = torch.rand(5, 3, 20, 24)
        clip[3, 0, 4, 4] = torch.nan
        with pytest.raises(RuntimeError, match=r"^frame 2 is not finite in fp32: source frame 3 has pixels that are not$"):
            Engine(random_model(X4)).restore(range(5), clip.__getitem__)

    def test_a_change_of_the_given_model_changes_nothing(self) -> None:
        model, clip = self.loud(), torch.rand(5, 3, 20, 24)
        expected, engine = Engine(model).restore(range(5), clip.__getitem__), Engine(model, dtype=torch.float16)
        torch.nn.init.zeros_(model.conv_hr.weight)
        assert torch.equal(engine.restore(range(5), clip.__getitem__), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_a_gpu_gives_what_the_cpu_gives(dtype: torch.dtype, tolerance: float) -> None:
    model, clip = random_model(X4), torch.rand(5, 3, 24, 24)
    expected = Engine(model).restore(range(5), clip.__getitem__)
    assert (Engine(model, "cuda", dtype).restore(range(5), clip.__getitem__) - expected).abs().max() < tolerance


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tile", [(0, 0), (24, 24)])
def test_on_a_gpu_pixels_do_not_depend_on_the_order_or_the_cache(dtype: torch.dtype, tile: tuple[int, int]) -> None:
    model, clip = random_model(EDVRConfig(num_extract_block=1, num_reconstruct_block=1)), torch.rand(12, 3, 45, 70)
    windows = [clip_windows(model.config, 12, "reflection_circle").indices(n) for n in range(12)]
    tiling = Tiling(45, 70, tile, 4, model.config)
    linear, other = (Engine(model, "cuda", dtype, tiling, cache_bytes) for cache_bytes in (1 << 30, 1 << 20))
    expected = [linear.restore(indices, clip.__getitem__) for indices in windows]
    for n in [11, 0, 7, 7, 3, 4, 2, 10, 1, 9, 8, 6, 5]:
        assert torch.equal(other.restore(windows[n], clip.__getitem__), expected[n])


@pytest.mark.gpu
def test_on_a_gpu_overflowing_frames_are_computed_again() -> None:
    model, clip = TestNotFinite.loud(), torch.rand(5, 3, 24, 24)
    restored = Engine(model, "cuda", torch.float16).restore(range(5), clip.__getitem__)
    assert (restored - Engine(model).restore(range(5), clip.__getitem__)).abs().max() < 1e-4


@pytest.mark.gpu
def test_creation_on_a_gpu_prepares_and_leaves_no_black_frames_behind() -> None:
    model, clip = random_model(X4), torch.rand(5, 3, 24, 24)
    engine = Engine(model, "cuda", tiling=Tiling.whole(24, 24, X4))
    assert engine.device.index is not None
    assert not engine.workspace.cache.frames
    assert (engine.restore(range(5), clip.__getitem__) - Engine(model).restore(range(5), clip.__getitem__)).abs().max() < 1e-4
