"""The CPU benchmarks run from end to end, at sizes too small for meaningful figures, and refuse to time wrong results."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.answers import check_same, psnr
from benchmarks.clips import clip_of
from benchmarks.cpu import filter as cpu_filter
from benchmarks.cpu import halo, jobs, kernels, memory, train_step
from benchmarks.inputs import moving_texture
from conftest import TINY, random_model
from vsedvr.model import EDVRConfig
from vsedvr.ops import native

X4 = EDVRConfig(num_feat=8, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1, num_tail_feat=8)


def gray(model: object, lq: Tensor) -> Tensor:
    """Replaces a plain form and returns another picture."""
    return torch.full((3, 4 * lq.shape[2], 4 * lq.shape[3]), 0.5)


@pytest.mark.parametrize("tile", [(0, 0), (64, 48)])
def test_memory_is_measured_of_a_right_picture(tile: tuple[int, int]) -> None:
    estimate, measured = memory.measure(X4, 90, 120, tile)
    assert estimate > 0
    assert 0 <= measured < 1 << 30


@pytest.mark.parametrize("tile", [(0, 0), (64, 48)])
def test_memory_of_a_wrong_picture_is_no_figure(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "plain_form", gray)
    with pytest.raises(SystemExit, match=r"answers differ by|dB to the plain form"):
        memory.measure(X4, 90, 120, tile)


def test_every_configuration_of_the_memory_table_is_one() -> None:
    assert {name for name, *_ in memory.CASES} == memory.CONFIGS.keys()


@pytest.fixture
def short_halo(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clip_of(moving_texture(5, 32, 48))
    monkeypatch.setattr(halo, "clips", lambda: [("texture", clip, [(32, 32)])])
    monkeypatch.setattr(halo, "CENTERS", (2,))
    monkeypatch.setattr(halo, "PADS", (0, 4, 16))


@pytest.mark.usefixtures("short_halo")
def test_tiles_come_nearer_to_the_whole_the_more_they_see(capsys: pytest.CaptureFixture[str]) -> None:
    halo.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| texture")]
    assert [row[:3] for row in rows] == [
        ["texture", size, pad]
        for size, pad in zip(("32x32 (1 x 2)", "32x32 (1 x 2)", "32x32 (1 x 1)"), ("0", "4", "16"), strict=True)
    ]
    none, some, all_of_it = (float(row[3]) for row in rows)
    assert none > some > all_of_it == 0


@pytest.mark.usefixtures("short_halo")
def test_no_halo_of_a_wrong_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halo, "plain_form", gray)
    with pytest.raises(SystemExit, match="the engine and the plain form: the answers differ by"):
        halo.main()


def test_the_clip_that_halos_are_measured_on() -> None:
    (small, clip, _), (crop, whole, _) = halo.clips()
    assert (small, clip.width, clip.height) == ("160x68, made 4 times smaller", 160, 68)
    assert (crop, whole.width, whole.height) == ("320x256, as it is", 320, 256)
    assert clip.num_frames > max(halo.CENTERS) + 2
    frames = halo.window(clip, 15)
    assert frames.shape == (5, 3, 68, 160)
    assert frames.std() > 0.1


@pytest.mark.skipif(not native.is_available(), reason="the kernels are not compiled")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_timed_when_the_gradients_are_the_same(precision: str) -> None:
    model, lq, gt = random_model(TINY).train(), torch.rand(1, 5, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert all(seconds > 0 for seconds in train_step.compare(model, lq, gt, precision, times=1))


def test_a_step_with_other_gradients_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, lq, gt = random_model(TINY).train(), torch.rand(1, 5, 3, 32, 32), torch.rand(1, 3, 32, 32)
    right = train_step.gradients
    monkeypatch.setattr(train_step, "gradients", lambda *given: right(*given) * (1.01 if native.is_available() else 1))
    monkeypatch.setattr(native, "is_available", lambda: True)
    with pytest.raises(SystemExit, match=r"fp32: the gradients differ by 0\.01 of their norm; nothing is timed"):
        train_step.compare(model, lq, gt, "fp32", times=1)


@pytest.mark.skipif(not native.is_available(), reason="the kernels are not compiled")
def test_frames_with_and_without_the_kernels_are_the_same() -> None:
    model, clip = random_model(TINY), moving_texture(5 + kernels.FRAMES, 32, 48)
    (slow, plain), (fast, compiled) = (kernels.seconds_and_frame(model, clip, there) for there in (False, True))
    assert slow > 0
    assert fast > 0
    check_same("a frame", plain, compiled)


def test_segments_are_timed_when_all_runs_make_the_same_frames(tmp_path: Path) -> None:
    film = jobs.write_film(tmp_path / "film.mkv", 12)
    wall, processor_seconds = jobs.timed(film, 1, 0.2)
    assert wall > 0
    assert processor_seconds > 0


def test_the_filter_is_timed() -> None:
    cpu_filter.check_answer(32, 24)
    assert cpu_filter.fps("x2", 32, 24, times=2) > 0
    assert abs(cpu_filter.overhead(64, 48, frames=300)) < 1


def test_a_filter_that_gives_another_picture_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_filter, "plain_form", gray)
    with pytest.raises(SystemExit, match="the filter and the plain form: the answers differ"):
        cpu_filter.check_answer(32, 24)


@pytest.mark.parametrize("value", [0.5 + 2e-4, float("nan")])
def test_answers_that_are_not_the_same(value: float) -> None:
    with pytest.raises(SystemExit, match="two pictures: the answers differ by"):
        check_same("two pictures", torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), value))


def test_answers_are_compared_as_they_are_shown() -> None:
    check_same("two pictures", torch.tensor([1.5, 0.5]), torch.tensor([1.0, 0.5 + 5e-5]))
    assert psnr(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)) == pytest.approx(20, abs=1e-4)
