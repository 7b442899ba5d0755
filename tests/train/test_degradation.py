"""Every degradation is compared with an independent implementation."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from conftest import moving_frames
from vsedvr.data.pairs import to_tensor
from vsedvr.data.resize import imresize
from vsedvr.train.blur import Bicubic, BlurDecimate, GaussianBlur, MotionBlur, Reduction
from vsedvr.train.coding import Compression, Delivery, Mpeg2
from vsedvr.train.degradation import Degradation, degrade
from vsedvr.train.noise import Grain, Noise


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


def ycbcr(window: Tensor) -> NDArray[np.float64]:
    """Returns Y, Cb and Cr (t, 3, h, w) of full range on a scale of 255, by ITU-R BT.601's formulas."""
    r, g, b = window.double().numpy().transpose(1, 0, 2, 3) * 255
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, (b - y) / 1.772, (r - y) / 1.402], 1)


@pytest.mark.parametrize("size", [0.0, 0.8])
def test_grain_has_its_deviations_and_its_size(size: float) -> None:
    gray = torch.full((4, 3, 96, 128), 0.5)
    grain = ycbcr(Grain((6, 6), (3, 3), (size, size))(gray, rng()) - gray)
    assert grain.std((0, 2, 3)) == pytest.approx([6, 3, 3], rel=0.03)
    beside = (grain[..., 1:] * grain[..., :-1]).mean((0, 2, 3)) / grain.var((0, 2, 3))
    expected = np.exp(-1 / (4 * size**2)) if size else 0  # white noise blurred by a Gaussian
    assert beside == pytest.approx([expected] * 3, abs=0.05)
    planes = np.corrcoef(grain.transpose(1, 0, 2, 3).reshape(12, -1))
    assert np.abs(planes - np.eye(12)).max() < 0.06, "frames and planes know nothing of each other"


def test_blur_along_one_direction_is_a_gaussian_of_two_deviations() -> None:
    spot = torch.zeros(1, 3, 41, 41)
    spot[..., 20, 20] = 1
    y, x = np.mgrid[-20:21, -20:21]
    angles = []
    for seed in range(4):
        blurred = GaussianBlur((2, 2), (0.5, 0.5))(spot, rng(seed))[0, 1].double().numpy()
        assert blurred.sum() == pytest.approx(1, abs=1e-5)
        covariance = np.array([[(blurred * a * b).sum() for a in (x, y)] for b in (x, y)])
        assert sorted(np.linalg.eigvalsh(covariance) ** 0.5) == pytest.approx([1, 2], rel=0.02)
        angles.append(0.5 * np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1]))
    assert np.ptp(angles) > 0.3, "the direction is drawn"


@pytest.mark.parametrize("name", ["bicubic", "bilinear", "area"])
def test_a_reduction_is_that_of_its_filter(name: str) -> None:
    window = clip(24, 36)
    reduced = Reduction(2, (name,))(window, rng())
    assert reduced.shape == (5, 3, 12, 18)
    how = {"bilinear": Image.Resampling.BILINEAR, "area": Image.Resampling.BOX}
    for frame, small in zip(window.flatten(0, 1), reduced.flatten(0, 1), strict=True):
        if name == "bicubic":
            expected = imresize(frame.double(), 2).numpy()
        else:
            expected = np.asarray(Image.fromarray(frame.numpy()).resize((18, 12), how[name]))
        assert np.abs(small.numpy() - expected).max() < 1e-5


def test_the_filter_of_a_reduction_is_drawn() -> None:
    window, draws = clip(24, 36), rng()
    reduced = [Reduction(2)(window, draws) for _ in range(20)]
    assert len({tensor.numpy().tobytes() for tensor in reduced}) == 3


def test_mpeg2_loses_more_the_higher_the_scale_of_the_quantiser() -> None:
    window = clip(64, 96).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    results = [Mpeg2((q, q))(window, rng()) for q in (1, 6, 20)]
    quality = [psnr(result, window) for result in results]
    assert quality[0] > quality[1] + 1 > quality[2] + 3
    assert quality[0] > 42
    assert all(psnr(a, b) > quality[0] - 3 for a, b in zip(results[0], window, strict=True)), "every frame is in its place"
    assert torch.equal(Mpeg2((6, 6))(window, rng()), results[1])


@pytest.mark.parametrize(("height", "width", "num_frame"), [(33, 48, 5), (40, 51, 1), (130, 32, 2)])
def test_mpeg2_takes_any_window_and_moves_no_colour(height: int, width: int, num_frame: int) -> None:
    colour = torch.tensor([0.7, 0.4, 0.3]).view(3, 1, 1)
    window = colour + (clip(height, width, shift=(0, 0))[:num_frame] - 0.5) * 0.2
    out = Mpeg2((1, 1))(window, rng())
    assert out.shape == window.shape
    assert (out - window).mean((0, 2, 3)).abs().max() * 255 < 0.5


def test_films_are_delivered_by_one_encoder_or_two() -> None:
    window = clip(32, 48)
    mpeg2, h264 = Mpeg2((6, 6)), Compression(crf=(28, 28))
    alone = {"q": (6.0, 6.0), "crf": (28.0, 28.0)}
    assert torch.equal(Delivery(1, 0, **alone)(window, rng()), mpeg2(window, rng()))
    assert torch.equal(Delivery(0, 0, **alone)(window, rng()), h264(window, rng()))
    assert torch.equal(Delivery(1, 1, **alone)(window, rng()), mpeg2(mpeg2(window, rng()), rng()))
    draws, half = rng(), Delivery(0.5, 0.5, **alone)
    assert len({half(window, draws).numpy().tobytes() for _ in range(30)}) == 6, "one or the other, or two in any order"


STEPS: list[Degradation] = [
    Bicubic(4),
    Reduction(2),
    GaussianBlur((0.2, 1.4), (0.4, 1)),
    Mpeg2(),
    Delivery(),
    Grain(),
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
        (lambda: GaussianBlur(ratio=(0.5, 2)), r"gaussian_blur: ratio must rise from at least 0 to at most 1, got \(0\.5, 2\)"),
        (lambda: Reduction(0), r"reduction: scale must be at least 1, got 0"),
        (lambda: Reduction(2, ("lanczos",)), r"reduction: filters must be some of bicubic, bilinear and area, got .*lanczos"),
        (lambda: Reduction(2, ()), r"filters must be some of"),
        (lambda: Grain(chroma=(3, 1)), r"grain: chroma must rise"),
        (lambda: Mpeg2((0, 4)), r"mpeg2: q must be at least 1, got \(0, 4\)"),
        (lambda: Mpeg2((1, 40)), r"mpeg2: q must rise from at least 0 to at most 31"),
        (lambda: Delivery(1.5), r"delivery: mpeg2_share must be from 0 to 1, got 1\.5"),
        (lambda: Delivery(crf=(20, 60)), r"compression: crf must rise"),
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
