"""Measurements and kept pictures of a comparison, on clips in memory."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from conftest import moving_frames
from vsedvr.compare.comparison import ComparisonSettings, compare, count_steps
from vsedvr.compare.notes import notes_on
from vsedvr.compare.version import Version

Picture = NDArray[np.uint8]


def version(name: str, frames: Sequence[Picture]) -> Version:
    return Version(name, frames, (frames[0].shape[0], frames[0].shape[1]))


class Long:
    """A clip of many frames, each of one grey level, that counts requests."""

    def __init__(self, num_frames: int, bright: dict[int, int]) -> None:
        self.num_frames = num_frames
        self.bright = bright
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, n: int) -> Picture:
        self.asked.append(n)
        return np.full((16, 16, 3), self.bright.get(n, 10), np.uint8)


def noisy(frames: Sequence[Picture]) -> list[Picture]:
    rng = np.random.default_rng(1)
    return [(frame + rng.normal(0, 3 + n, frame.shape)).clip(0, 255).astype(np.uint8) for n, frame in enumerate(frames)]


def test_every_frame_is_measured_in_luma() -> None:
    truth = moving_frames(6, 32, 40)
    before = noisy(truth)
    comparison = compare([version("before", before), version("exact", truth)], version("truth", truth))
    weights = np.array([65.481, 128.553, 24.966]) / 255
    for n, (frame, true) in enumerate(zip(before, truth, strict=True)):
        luma, true_luma = frame @ weights + 16, true @ weights + 16
        measured = comparison.measured["before"][n]
        assert measured.psnr == pytest.approx(peak_signal_noise_ratio(true_luma, luma, data_range=255), abs=1e-9)
        expected = structural_similarity(
            true_luma, luma, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert measured.ssim == pytest.approx(expected, abs=1e-9)
        assert measured.difference == 0
        exact = comparison.measured["exact"][n]
        assert exact.psnr == 100
        assert exact.ssim == pytest.approx(1)
        assert exact.difference == pytest.approx(np.abs(frame.astype(float) - true).mean())


def test_of_a_long_clip_few_frames_are_read() -> None:
    """Half of the shown frames are spread over the clip, and the others are the measured frames that differ most."""
    a, b = Long(100_000, {}), Long(100_000, {30_250: 200, 60_250: 150})
    settings = ComparisonSettings(frames=4, measured=200)
    steps: list[str] = []
    comparison = compare([Version("a", a, (16, 16)), Version("b", b, (16, 16))], None, settings, steps.append)
    assert sorted(comparison.pictures.by_frame) == [25_250, 30_250, 60_250, 75_250]
    assert comparison.most_different == {30_250, 60_250}
    assert len(b.asked) <= 200 + 4
    assert len(a.asked) <= 2 * (200 + 4)
    assert len(steps) == count_steps(comparison.versions, None, settings) == 400
    assert any("200 of 100000 frames" in note for note in notes_on(comparison))


def test_versions_that_do_not_differ_are_shown_all_the_same() -> None:
    comparison = compare([version("a", moving_frames(20, 16, 16)), version("b", moving_frames(20, 16, 16))])
    assert len(comparison.pictures.by_frame) == 8
    assert comparison.most_different == set()
    assert "The versions do not differ in any of these frames." in notes_on(comparison)


def test_with_only_spread_frames_no_others_are_read() -> None:
    a, b = Long(1000, {}), Long(1000, {3: 200})
    comparison = compare(
        [Version("a", a, (16, 16)), Version("b", b, (16, 16))], None, ComparisonSettings(4, 200, only_spread=True)
    )
    assert sorted(comparison.pictures.by_frame) == sorted(b.asked) == [125, 375, 625, 875]


@pytest.mark.parametrize(("way", "filter"), [("bicubic", Image.Resampling.BICUBIC), ("nearest", Image.Resampling.NEAREST)])
def test_smaller_versions_are_enlarged_to_the_largest(way: str, filter: Image.Resampling) -> None:
    small, large = moving_frames(2, 12, 20), moving_frames(2, 48, 80)
    comparison = compare([version("small", small), version("large", large)], None, ComparisonSettings(enlarge=way))
    assert comparison.size == (48, 80)
    kept = np.asarray(Image.open(io.BytesIO(comparison.pictures.by_frame[1]["small"])))
    np.testing.assert_array_equal(kept, np.asarray(Image.fromarray(small[1]).resize((80, 48), filter)))
    assert f"small is 20x12, shown and measured enlarged to 80x48 ({way})." in notes_on(comparison)


def test_with_a_truth_all_take_its_size() -> None:
    comparison = compare(
        [version("small", moving_frames(2, 12, 20)), version("wide", moving_frames(2, 96, 320))],
        version("truth", moving_frames(2, 24, 40)),
    )
    assert comparison.size == (24, 40)
    notes = notes_on(comparison)
    assert "small is 20x12, shown and measured enlarged to 40x24 (bicubic)." in notes
    assert "wide is 320x96, shown and measured reduced to 40x24 (bicubic); its shape is another, so it is stretched." in notes


def test_of_other_lengths_the_common_frames_are_compared() -> None:
    frames = moving_frames(9, 16, 16)
    comparison = compare([version("a", frames), version("b", frames[:5])], None, ComparisonSettings(frames=5))
    assert list(comparison.measured["a"]) == [0, 1, 2, 3, 4]
    assert "a has 9 frames and b has 5 frames: the first 5 are compared." in notes_on(comparison)
    assert sorted(comparison.pictures.by_frame) == [0, 1, 2, 3, 4]


def test_frames_that_have_no_room_are_left_out_evenly() -> None:
    noise = [np.random.default_rng(n).integers(0, 256, (300, 400, 3), np.uint8) for n in range(10)]
    other = [frame[::-1] for frame in noise]
    settings = ComparisonSettings(
        frames=10, max_bytes=200_000 + 1200 + 4 * (9_000 + 2 * 370_000) * 4 // 3
    )  # room for four frames
    comparison = compare([version("a", noise), version("b", other)], None, settings)
    shown = sorted(comparison.pictures.by_frame)
    assert len(shown) == 4
    assert shown[0] <= 2
    assert shown[-1] >= 7
    assert comparison.pictures.nbytes <= settings.max_bytes
    assert all(set(pictures) == {"a", "b"} for pictures in comparison.pictures.by_frame.values())
    assert "6 of the frames to show are left out, because the page would be larger than 4 MB." in notes_on(comparison)
    with pytest.raises(ValueError, match=r"a single frame take more than 0\.1 MB; allow a larger page"):
        compare([version("a", noise), version("b", other)], None, ComparisonSettings(max_bytes=300_000))


def test_errors_name_what_is_wrong() -> None:
    frames = moving_frames(3, 16, 16)
    uneven = [*frames[:2], frames[2][:8]]
    with pytest.raises(ValueError, match="frame 2 of b is 16x8, the first one is 16x16"):
        compare([version("a", frames), version("b", uneven)])
    with pytest.raises(ValueError, match="b has no frames"):
        compare([version("a", frames), Version("b", [], (16, 16))])
    with pytest.raises(ValueError, match="a ground truth of 16x8 is too small: SSIM needs 11x11"):
        compare([version("a", frames)], version("truth", [frame[:8] for frame in frames]))
    with pytest.raises(ValueError, match="16384x1 is too large for a page"):
        compare([version(name, [np.zeros((1, 16384, 3), np.uint8)]) for name in "ab"])
    for versions in ([version("a", frames)], [version("a", frames), version("a", frames[::-1])]):
        with pytest.raises(ValueError, match=r"two or more versions of different names can be compared, got \['a'"):
            compare(versions)


def test_versions_are_closed_when_they_have_been_measured() -> None:
    """Closing a version frees its model, so that only one model at a time takes memory."""
    open_now: set[str] = set()
    most = 0

    class Tracked(list[Picture]):
        def __init__(self, name: str) -> None:
            super().__init__(moving_frames(4, 16, 16))
            self.name = name

        def __getitem__(self, n: int) -> Picture:  # type: ignore[override]
            nonlocal most
            open_now.add(self.name)
            most = max(most, len(open_now - {"input"}))
            return super().__getitem__(n)

    def tracked(name: str) -> Version:
        return Version(name, Tracked(name), (16, 16), close=lambda: open_now.discard(name))

    compare([tracked("input"), tracked("one"), tracked("two")], None, ComparisonSettings(2, only_spread=True))
    assert most == 1
    assert open_now == set()
