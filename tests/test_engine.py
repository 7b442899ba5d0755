from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import TINY, random_model
from vsedvr.infer import Engine, window_indices
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import load_model

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


def whole_window(model: EDVR, clip: Tensor, indices: list[int]) -> Tensor:
    """What the network gives for the window at once, padded to its multiple and cropped."""
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
        indices = window_indices(n, len(clip), config, "reflection_circle")
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
        engine.restore(window_indices(n, 9, TINY, "reflection"), load)
    assert sorted(loaded) == list(range(9)), "each frame is loaded once"
    assert len(extracts) == 9, "each frame is extracted once"
    assert len(aligns) == 3 + 4 + 5 * 5 + 4 + 3, "a frame that stands in a window twice is aligned once"


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_pixels_do_not_depend_on_the_order_or_the_cache(cache_bytes: int) -> None:
    model, clip = random_model(), torch.rand(12, 3, 20, 33)
    windows = [window_indices(n, 12, TINY, "reflection_circle") for n in range(12)]
    linear = Engine(model)
    expected = [linear.restore(indices, clip.__getitem__) for indices in windows]
    other = Engine(model, cache_bytes=cache_bytes)
    for n in [11, 0, 7, 7, 3, 4, 2, 10, 1, 9, 8, 6, 5]:
        assert torch.equal(other.restore(windows[n], clip.__getitem__), expected[n])


def test_the_cache_is_bounded_in_bytes_and_frames() -> None:
    clip = torch.rand(40, 3, 16, 16)
    probe = Engine(random_model())
    probe.restore([0] * 5, clip.__getitem__)
    one_frame = probe.cache.nbytes
    # l1 4 * 4, l2 2 * 2, l3 1 * 1 positions, 8 features in fp32: feat, two shares of the offsets, one of the cascade
    assert one_frame == 3 * 16 * 16 * 4 + 4 * 8 * (3 * (16 + 4 + 1) + 16)
    engine = Engine(random_model(), cache_bytes=3 * one_frame)
    roomy = Engine(random_model())
    for n in range(40):
        for each in (engine, roomy):
            each.restore(window_indices(n, 40, TINY, "replicate"), clip.__getitem__)
        assert engine.cache.nbytes <= 3 * one_frame
        assert roomy.cache.nbytes <= 7 * one_frame
    assert [i for i, _ in engine.cache.frames] == [37, 38, 39]


def test_the_given_model_is_left_alone() -> None:
    model = random_model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Engine(model, dtype=torch.bfloat16).restore([0] * 5, lambda i: torch.rand(3, 16, 16))
    assert model.training
    assert all(torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in model.state_dict().items())


def test_output_is_clamped() -> None:
    model = random_model()
    torch.nn.init.constant_(model.conv_last.bias, 5.0)  # type: ignore[arg-type]
    out = Engine(model).restore([0] * 5, lambda i: torch.rand(3, 16, 16))
    assert out.max() == 1


def test_bfloat16_is_within_55_db_of_float32() -> None:
    """The embedded model on smooth pictures that move by two pixels a frame."""
    model = load_model("small")
    texture = F.interpolate(torch.rand(1, 3, 16, 28), scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    clip = torch.stack([texture[:, :, 2 * n : 2 * n + 96] for n in range(5)])
    exact, coarse = (
        Engine(model, dtype=dtype).restore(range(5), clip.__getitem__) for dtype in (torch.float32, torch.bfloat16)
    )
    assert 0 < (exact - coarse).square().mean() < 10 ** (-55 / 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_a_gpu_gives_what_the_cpu_gives(dtype: torch.dtype, tolerance: float) -> None:
    model, clip = random_model(X4), torch.rand(5, 3, 24, 24)
    expected = Engine(model).restore(range(5), clip.__getitem__)
    assert (Engine(model, "cuda", dtype).restore(range(5), clip.__getitem__) - expected).abs().max() < tolerance
