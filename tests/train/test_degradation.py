"""Every degradation is compared with an independent implementation."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import moving_frames
from vsedvr.data.pairs import to_tensor
from vsedvr.data.resize import imresize
from vsedvr.train.degradation import (
    Bicubic,
    BlurDecimate,
    Compression,
    Degradation,
    GaussianBlur,
    MotionBlur,
    Noise,
    degrade,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clip(height: int = 48, width: int = 64, num_frame: int = 5, shift: tuple[int, int] = (1, 2)) -> Tensor:
    return torch.stack([to_tensor(frame) for frame in moving_frames(num_frame, height, width, shift)])


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def test_without_steps_only_the_rounding_is_left() -> None:
    values = torch.tensor([-0.1, 0.0, 0.499 / 255, 0.5 / 255, 1.49 / 255, 254.5 / 255, 1.0, 1.3])
    window = values.view(1, 1, 1, -1).expand(5, 3, 1, -1)
    expected = torch.tensor([0, 0, 0, 1, 1, 255, 255, 255]) / 255
    assert torch.equal(degrade(window, (), rng())[2, 1, 0], expected)


def test_bicubic_is_what_a_benchmarks_file_holds() -> None:
    window = clip()
    expected = np.clip(np.floor(imresize(window.double(), 4).numpy() * 255 + 0.5), 0, 255)
    lq = degrade(window, (Bicubic(4),), rng()) * 255
    assert lq.shape == (5, 3, 12, 16)
    assert np.array_equal(lq.numpy().round(), expected)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.4])
def test_gaussian_blur_is_opencvs(sigma: float) -> None:
    window = clip(17, 23)
    side = 2 * int(np.ceil(3 * sigma)) + 1
    frames = window.double().permute(0, 2, 3, 1).numpy()
    expected = [cv2.GaussianBlur(frame, (side, side), sigma, borderType=cv2.BORDER_REPLICATE) for frame in frames]
    blurred = GaussianBlur((sigma, sigma))(window, rng()).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(blurred, np.stack(expected), atol=2e-6)


def test_gaussian_blur_of_nothing_changes_nothing() -> None:
    window = clip(8, 8)
    assert torch.equal(GaussianBlur((0, 0))(window, rng()), window)


def test_blur_decimate_takes_every_fourth_pixel_from_0_of_a_13x13_gaussian() -> None:
    point = torch.zeros(1, 1, 64, 64)
    point[..., 32, 28] = 1
    out = BlurDecimate()(point, rng())[0, 0].double().numpy()
    assert out.shape == (16, 16)
    y, x = np.mgrid[-6:7, -6:7]
    kernel = np.exp(-(x**2 + y**2) / (2 * 1.6**2))
    kernel /= kernel.sum()
    expected = np.zeros((16, 16))
    expected[7:10, 6:9] = kernel[2:11:4, 2:11:4]  # samples at -4, 0 and 4; those at 8 are outside
    np.testing.assert_allclose(out, expected, atol=1e-7)


def stripes(num_frame: int, speed: float) -> tuple[Tensor, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """Makes a smooth pattern that moves to the right by `speed` pixels a frame; also returns its luminance by x at time 0."""

    def linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.4 + 0.2 * np.sin(2 * np.pi * x / 21) + 0.1 * np.sin(2 * np.pi * x / 33 + 1)

    y, x = np.mgrid[:64, :96].astype(np.float64)
    down = 1 + 0.3 * np.sin(2 * np.pi * y / 29)  # for the optical flow, which needs corners
    frames = [down * linear(x - speed * (n - num_frame // 2)) for n in range(num_frame)]
    encoded = np.stack(frames) ** (1 / 2.2)
    return torch.from_numpy(encoded).float()[:, None].expand(-1, 3, -1, -1), linear


@pytest.mark.parametrize(("speed", "exposure"), [(4.0, 1.0), (-6.0, 0.5)])
def test_motion_blur_is_the_mean_of_light_over_the_exposure(speed: float, exposure: float) -> None:
    window, linear = stripes(5, speed)
    blurred = MotionBlur((exposure, exposure))(window, rng())
    assert blurred.shape == window.shape
    times = np.linspace(-exposure / 2, exposure / 2, 1001)
    y, x = np.mgrid[:64, :96].astype(np.float64)
    light = np.mean([linear(x - speed * time) for time in times], 0) * (1 + 0.3 * np.sin(2 * np.pi * y / 29))
    inside = np.s_[12:-12, 16:-16]  # nobody knows what comes in at the border
    error = abs(blurred[2, 0].double().numpy() - light ** (1 / 2.2))[inside]
    unblurred = abs(window[2, 0].double().numpy() - light ** (1 / 2.2))[inside]
    # the flow is right to a tenth of a pixel or so, and a pixel of the stripes is up to 0.05
    assert error.mean() < 0.005
    assert unblurred.mean() > 3 * error.mean()


def test_known_sub_frames_are_averaged_in_linear_light() -> None:
    frames = torch.rand(3, 17, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.mean(frames.numpy() ** 2.2, 1) ** (1 / 2.2)
    np.testing.assert_allclose(MotionBlur().mean(frames).numpy(), expected, rtol=1e-12)


def test_the_times_of_an_exposure_lie_about_the_frame() -> None:
    np.testing.assert_allclose(MotionBlur((0.5, 0.5), samples=5).times(rng()), [-0.25, -0.125, 0, 0.125, 0.25])


def test_motion_blur_leaves_what_stands_still_and_what_is_exposed_for_no_time() -> None:
    still = clip(shift=(0, 0))
    assert (MotionBlur((1, 1))(still, rng()) - still).abs().max() < 1e-5
    moving = clip()
    assert (MotionBlur((0, 0))(moving, rng()) - moving).abs().max() < 1e-5


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_compression_loses_more_the_higher_the_crf(codec: str) -> None:
    window = clip(64, 96).mean(1, keepdim=True).expand(-1, 3, -1, -1)  # in gray: colour has half the resolution
    results = [Compression(codec, (crf, crf))(window, rng()) for crf in (1, 23, 38)]
    quality = [psnr(result, window) for result in results]
    assert quality[0] > quality[1] + 1 > quality[2] + 3
    assert quality[0] > 42, "with a wrong range it would be below 30"
    assert all(psnr(a, b) > quality[0] - 3 for a, b in zip(results[0], window, strict=True)), "every frame is in its place"


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (720, 128)])
def test_compression_moves_no_colour(codec: str, height: int, width: int) -> None:
    """If it did, a network would learn to move the colour back."""
    colour = torch.tensor([0.7, 0.4, 0.3]).view(3, 1, 1)
    window = colour + (clip(height, width, shift=(0, 0)) - 0.5) * 0.2
    moved = (Compression(codec, (4, 4))(window, rng()) - window).mean((0, 2, 3)) * 255
    assert moved.abs().max() < 0.4, moved


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("height", "width"), [(33, 48), (48, 34), (35, 37), (16, 16), (130, 32)])
def test_compression_takes_any_size(codec: str, height: int, width: int) -> None:
    window = clip(height, width).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    out = Compression(codec, (4, 4))(window, rng())
    assert out.shape == window.shape
    assert psnr(out, window) > 40
    assert psnr(out[..., -1, -1], window[..., -1, -1]) > 35


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("num_frame", [1, 2])
def test_compression_takes_a_window_of_few_frames(codec: str, num_frame: int) -> None:
    window = clip(64, 96)[:num_frame].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    for _ in range(10):  # the encoder's memory is another one each time
        out = Compression(codec, (4, 4))(window, rng())
        assert out.shape == window.shape
        assert all(psnr(a, b) > 40 for a, b in zip(out, window, strict=True))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 64), (128, 144)])
def test_compression_is_the_same_every_time(codec: str, height: int, width: int) -> None:
    window, step = clip(height, width), Compression(codec, (30, 30))
    first = step(window, rng())
    assert all(torch.equal(step(window, rng()), first) for _ in range(20))


def test_an_unknown_codec_or_preset_is_named() -> None:
    with pytest.raises(ValueError, match=r"codec must be one of libx264, libx265, got 'h263'"):
        Compression("h263")
    with pytest.raises(ValueError, match=r"compression: libx264 with preset 'hasty' cannot encode"):
        Compression("libx264", preset="hasty")


def test_noise_has_its_deviation_and_knows_nothing_of_the_frame() -> None:
    window = clip(64, 64)
    noise = (Noise((25, 25))(window, rng()) - window).double() * 255
    count = noise.numel()
    assert abs(noise.mean()) < 4 * 25 / count**0.5
    assert abs(noise.std() - 25) < 4 * 25 / (2 * count) ** 0.5
    frames = noise.flatten(1)
    correlation = torch.corrcoef(torch.cat([frames, window.double().flatten(1)]))[:5]
    assert (correlation - torch.eye(5, 10)).abs().max() < 4.5 / frames.shape[1] ** 0.5
    black = torch.zeros_like(window)
    assert torch.allclose(Noise((25, 25))(black, rng()) * 255, noise.float(), atol=1e-4)


def test_one_value_holds_for_a_clip_and_another_for_the_next() -> None:
    gray = torch.full((5, 3, 64, 64), 0.5)
    draws = rng()
    deviations = [(Noise((5, 50))(gray, draws) - 0.5).flatten(1).std(1) * 255 for _ in range(8)]
    for of_frames in deviations:
        assert of_frames.max() / of_frames.min() < 1.1
    of_clips = torch.stack([of_frames.mean() for of_frames in deviations])
    assert 5 <= of_clips.min() < 20
    assert 35 < of_clips.max() <= 51


STEPS: list[Degradation] = [
    Bicubic(4),
    GaussianBlur(),
    BlurDecimate(4),
    MotionBlur(),
    Compression(crf=(20, 40)),
    Compression("libx265", (20, 40)),
    Noise(),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_the_generator_decides_everything(step: Degradation) -> None:
    window = clip()
    before = window.clone()
    first = degrade(window, (step,), rng(1))
    assert torch.equal(first, degrade(window, (step,), rng(1)))
    assert torch.equal(window, before), "what goes in stays as it is"
    assert first.dtype == torch.float32
    assert first.isfinite().all()


def test_steps_come_in_the_presets_order() -> None:
    window = clip()
    noise, reduction = Noise((40, 40)), Bicubic(4)
    first = degrade(window, (noise, reduction), rng())
    last = degrade(window, (reduction, noise), rng())
    clean = degrade(window, (reduction,), rng())
    assert psnr(first, clean) > psnr(last, clean) + 6, "a reduction averages the noise that was there before it"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Noise((50, 5)), r"noise: sigma must rise from at least 0, got \(50, 5\)"),
        (lambda: Noise((-1, 5)), r"noise: sigma must rise from at least 0, got \(-1, 5\)"),
        (lambda: GaussianBlur((0, float("nan"))), r"gaussian_blur: sigma must rise .*nan"),
        (lambda: MotionBlur((-1, 1)), r"motion_blur: exposure must rise"),
        (lambda: MotionBlur(samples=0), r"motion_blur: samples must be at least 1, got 0"),
        (lambda: MotionBlur(samples=16), r"motion_blur: samples must be odd, got 16"),
        (lambda: Compression(crf=(20, 60)), r"compression: crf must rise from at least 0 to at most 51, got \(20, 60\)"),
        (lambda: Bicubic(0), r"bicubic: scale must be at least 1, got 0"),
        (lambda: BlurDecimate(4, -1), r"blur_decimate: sigma must be at least 0, got -1"),
    ],
)
def test_values_that_make_no_sense_are_named(wrong: Callable[[], Degradation], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
