"""Training windows depend only on their number, match in both qualities, and never contain a scene cut."""

import hashlib
import logging
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from conftest import moving_frames, write_frames
from training_data import flat, write_video
from vsedvr.train import synthesis
from vsedvr.train.blur import Bicubic
from vsedvr.train.dataset import TrainingData
from vsedvr.train.degradation import degrade
from vsedvr.train.preset import parse_preset

NETWORK: dict[str, Any] = {"num_feat": 8, "num_frame": 3, "deformable_groups": 2}
STEPS = [{"kind": "motion_blur"}, {"kind": "bicubic"}, {"kind": "compression"}, {"kind": "noise"}]
BICUBIC = [{"kind": "bicubic"}]


def data_of(
    root: Path,
    steps: list[dict[str, Any]],
    seed: int = 0,
    scale: int = 4,
    of_gt: Sequence[dict[str, Any]] = (),
    **data: Any,
) -> TrainingData:
    network = {**NETWORK, "scale": scale}
    train = {"seed": seed, "iterations": 8, "batch": 3}
    tables = {"data": {"patch": 32, **data}, "degradation": steps, "gt_degradation": list(of_gt), "train": train}
    return TrainingData(parse_preset({"name": "x", "network": network, **tables}), root, root / "cache")


def digest_of(sample: tuple[Tensor, Tensor]) -> str:
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in sample)).hexdigest()


@pytest.fixture
def mixed(tmp_path: Path) -> TrainingData:
    """Makes training data from a folder of frames, a video and a still."""
    write_frames(tmp_path / "clips/a", moving_frames(6, 64, 80))
    write_video(tmp_path / "clips/b.mkv", [flat((60 + n, 128, 128)) for n in range(7)])
    (tmp_path / "stills").mkdir()
    Image.fromarray(moving_frames(1, 90, 120)[0]).save(tmp_path / "stills/s.png")
    return data_of(tmp_path, STEPS, gt=["clips"], stills=["stills"], interval=[1, 2], reverse=True, reduce=1.5)


def test_a_sample_depends_on_its_number_alone(mixed: TrainingData) -> None:
    expected = {k: digest_of(mixed[k]) for k in range(12)}
    assert len(set(expected.values())) == 12
    assert {k: digest_of(mixed[k]) for k in reversed(range(12))} == expected
    copy = pickle.loads(pickle.dumps(mixed))
    assert {k: digest_of(copy[k]) for k in (7, 3)} == {k: expected[k] for k in (7, 3)}
    workers = DataLoader(mixed, sampler=range(12), batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert [digest_of(sample) for sample in workers] == list(expected.values())


def test_samples_are_what_they_are_said_to_be(mixed: TrainingData) -> None:
    assert len(mixed) == 8 * 3
    for k in range(12):
        lq, gt = mixed[k]
        assert (lq.shape, gt.shape) == ((3, 3, 8, 8), (3, 32, 32))
        assert (lq.dtype, gt.dtype) == (torch.float32, torch.float32)
        for values in (lq * 255, gt * 255):
            assert (values - values.round()).abs().max() < 1e-4
            assert 0 <= values.min() <= values.max() <= 255


def test_the_seed_gives_other_samples(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/a", moving_frames(6, 64, 80))
    first, second = (data_of(tmp_path, BICUBIC, seed, gt=["clips"]) for seed in (0, 1))
    assert digest_of(first[0]) != digest_of(second[0])


@pytest.mark.parametrize("scale", [1, 4])
def test_a_share_of_the_windows_is_clean(tmp_path: Path, scale: int) -> None:
    write_frames(tmp_path / "clips/a", moving_frames(6, 64, 80))
    (tmp_path / "stills").mkdir()
    Image.fromarray(moving_frames(1, 90, 120)[0]).save(tmp_path / "stills/s.png")
    steps: list[dict[str, Any]] = [{"kind": "motion_blur"}, {"kind": "bicubic", "scale": scale}, {"kind": "noise"}]
    sources: dict[str, Any] = {"gt": ["clips"], "stills": ["stills"], "scale": scale}
    all_clean, some = (data_of(tmp_path, steps, clean_share=share, **sources) for share in (1.0, 0.5))

    def error(sample: tuple[Tensor, Tensor]) -> float:
        lq, gt = sample
        return float((lq[1] - degrade(gt[None], [Bicubic(scale)], np.random.default_rng(0))[0]).abs().mean())

    assert [error(all_clean[k]) for k in range(8)] == [0] * 8
    assert 4 < sum(error(some[k]) == 0 for k in range(24)) < 20


def test_a_share_of_the_ground_truth_is_degraded_itself(tmp_path: Path) -> None:
    """With noise of the ground truth alone, lq is gt reduced, and gt is no longer the flat source."""
    write_frames(tmp_path / "clips/a", [np.full((64, 80, 3), 90, np.uint8)] * 6)
    (tmp_path / "stills").mkdir()
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(tmp_path / "stills/s.png")
    noise = [{"kind": "noise", "sigma": [8, 8]}]
    sources: dict[str, Any] = {"gt": ["clips"], "stills": ["stills"], "of_gt": noise}
    always, some = (data_of(tmp_path, BICUBIC, gt_degradation_share=share, **sources) for share in (1, 0.5))
    for k in range(8):
        lq, gt = always[k]
        assert gt.std() * 255 == pytest.approx(8, rel=0.1)
        assert torch.equal(lq[1], degrade(gt[None], [Bicubic(4)], np.random.default_rng(0))[0])
        assert (gt * 255 - (gt * 255).round()).abs().max() < 1e-3, "of 8 bits, as masters are"
    assert 4 < sum(float(some[k][1].std()) == 0 for k in range(24)) < 20


def test_contrast_is_raised_about_the_mean_of_the_window(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/a", [100 + frame // 8 for frame in moving_frames(6, 64, 80)])
    nothing = [{"kind": "noise", "sigma": [0, 0]}]
    as_it_is, raised = (data_of(tmp_path, nothing, scale=1, gt=["clips"], contrast=[f, f]) for f in (1, 2.5))
    for k in range(4):
        (window, _), (lq, gt) = as_it_is[k], raised[k]
        assert (lq - (window + 1.5 * (window - window.mean()))).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(gt, lq[1])


def test_motion_blur_of_a_still_is_that_of_its_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under blur, brightness a * x**2 grows at every x by a times the variance of the motion."""
    for what in ("TURN", "ZOOM", "SHAKE", "OCCLUDED"):
        monkeypatch.setattr(synthesis, what, 0)
    monkeypatch.setattr(synthesis, "_velocity", lambda *_: np.array([20, 0]))
    monkeypatch.setattr(synthesis, "_corner", lambda *_: (40, 20))
    y, x = np.mgrid[:128, :128] / 128  # twice the patch: taken whole
    light = 0.7 * x**2 + 0.3 * y
    (tmp_path / "stills").mkdir()
    Image.fromarray((255 * np.stack([light ** (1 / 2.2)] * 3, 2)).round().astype(np.uint8)).save(tmp_path / "stills/s.png")
    steps = [{"kind": "motion_blur", "exposure": [0.8, 0.8]}]
    data = data_of(tmp_path, steps, scale=1, stills=["stills"], patch=64)
    expected = 0.7 / 128**2 * np.var(np.linspace(-0.5, 0.5, 17) * 0.8 * 20)
    for k in range(8):
        lq, gt = data[k]
        brighter = (lq[1] ** 2.2 - gt**2.2).double()
        assert float(brighter.mean()) == pytest.approx(expected, rel=0.05)
        assert (brighter - expected).abs().max() < 2.2 / 255  # both are in 8 bits


def coordinates(num_frame: int, height: int, width: int, block: int) -> list[np.ndarray]:
    """Makes frames in which every pixel tells its position in lq and its frame as (x, y, n), with one value per block."""
    y, x = np.mgrid[:height, :width] // block
    return [np.stack([x, y, np.full_like(x, n)], 2).astype(np.uint8) for n in range(num_frame)]


def test_both_qualities_show_the_same_place_and_time_however_turned(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt/a", coordinates(9, 61, 83, 4))  # no multiple of 4
    write_frames(tmp_path / "lq/a", coordinates(9, 15, 20, 1))
    data = data_of(tmp_path, [], gt=["gt"], lq=["lq"], interval=[1, 3], reverse=True)
    steps, corners = Counter[int](), set()
    for k in range(400):
        lq, gt = ((part * 255).round().long() for part in data[k])
        assert torch.equal(lq[1], gt[:, ::4, ::4])
        assert torch.equal(gt, lq[1].repeat_interleave(4, 1).repeat_interleave(4, 2))
        x, y, n = lq.unbind(1)
        assert torch.equal(x[0], x[1])
        assert torch.equal(y[0], y[2])
        assert (n.amin((1, 2)) == n.amax((1, 2))).all()
        first, second, third = n[:, 0, 0].tolist()
        assert third - second == second - first
        steps[second - first] += 1
        corners.add((int(x.min()), int(y.min())))
    assert sorted(steps) == [-3, -1, 1, 3]
    assert min(steps.values()) > 60
    assert {corner[0] for corner in corners} == set(range(20 - 8 + 1))
    assert {corner[1] for corner in corners} == set(range(15 - 8 + 1))


def test_all_eight_turns_come_equally_often(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt/a", coordinates(3, 32, 32, 1))
    data = data_of(tmp_path, BICUBIC, gt=["gt"])
    corners: Counter[tuple[int, ...]] = Counter()
    for k in range(400):
        gt = (data[k][1] * 255).round().long()
        corners[(*gt[:2, 0, 0].tolist(), *gt[:2, 0, 31].tolist())] += 1
    assert len(corners) == 8
    assert min(corners.values()) > 25, "of 50 to be expected"


def test_without_reverse_time_runs_forward(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt/a", coordinates(5, 32, 32, 4))
    write_frames(tmp_path / "lq/a", coordinates(5, 8, 8, 1))
    data = data_of(tmp_path, [], gt=["gt"], lq=["lq"])
    for k in range(40):
        times = data[k][0][:, 2, 0, 0] * 255
        assert (times.diff().round() == 1).all()


def test_windows_never_cross_a_cut_and_come_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    levels = [*range(40, 45), *range(120, 127)]  # two scenes: every frame tells its number by its luma
    write_video(tmp_path / "v/film.mkv", [flat((level, 128, 128)) for level in levels])
    data = data_of(tmp_path, BICUBIC, gt=["v"], interval=[1, 2])
    seen = set()
    for k in range(300):
        lq, _ = data[k]
        values = [float(value) * 219 + 16 for value in lq[:, 0, 4, 4]]
        window = tuple(min(range(12), key=lambda n: abs(levels[n] - value)) for value in values)
        assert window[2] - window[1] == window[1] - window[0] in (1, 2)
        assert max(window) < 5 or min(window) >= 5
        seen.add(window)
    singles = [(n, n + 1, n + 2) for n in (0, 1, 2, 5, 6, 7, 8, 9)]
    doubles = [(n, n + 2, n + 4) for n in (0, 5, 6, 7)]
    assert seen == {*singles, *doubles}


def test_an_interval_that_a_scene_has_no_room_for_is_not_taken(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt/a", coordinates(4, 32, 32, 4))
    write_frames(tmp_path / "lq/a", coordinates(4, 8, 8, 1))
    data = data_of(tmp_path, [], gt=["gt"], lq=["lq"], interval=[1, 2])
    assert {int((data[k][0][1, 2, 0, 0] - data[k][0][0, 2, 0, 0]) * 255 + 0.5) for k in range(20)} == {1}


def test_stills_have_their_share(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/a", [np.zeros((32, 32, 3), np.uint8)] * 3)
    (tmp_path / "stills").mkdir()
    Image.new("RGB", (40, 40), "white").save(tmp_path / "stills/s.png")
    for share in (0.0, 0.25, 1.0):
        data = data_of(tmp_path, BICUBIC, gt=["clips"], stills=["stills"], stills_share=share)
        white = np.mean([float(data[k][1].mean()) for k in range(400)])
        assert abs(white - share) <= 4 * (share * (1 - share) / 400) ** 0.5
    assert data_of(tmp_path, BICUBIC, stills=["stills"])[0][1].min() == 1
    assert data_of(tmp_path, BICUBIC, gt=["clips"], stills_share=1.0)[0][1].max() == 0


def test_what_cannot_be_read_is_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "clips/a", moving_frames(3, 32, 32))
    write_frames(tmp_path / "clips/b", moving_frames(3, 32, 32))
    write_frames(tmp_path / "clips/c", moving_frames(3, 40, 40))
    data = data_of(tmp_path, BICUBIC, gt=["clips"])
    expected = {k: digest_of(data[k]) for k in range(20)}
    cut, resized = tmp_path / "clips/b/00000001.png", tmp_path / "clips/c/00000002.png"
    cut.write_bytes(cut.read_bytes()[:200])
    Image.new("RGB", (48, 36)).save(resized)
    with caplog.at_level(logging.WARNING, "vsedvr"):
        samples = {k: digest_of(data[k]) for k in range(20)}
    messages = [record.message for record in caplog.records]
    assert any(str(cut) in message for message in messages)
    assert any(f"{resized.parent}: frame 2 is 48x36, the first is 40x40" in message for message in messages)
    assert 2 <= sum(samples[k] == expected[k] for k in range(20)) < 20, "what is sound stays as it was"
    cut_all = tmp_path / "clips/a/00000000.png"
    cut_all.write_bytes(b"")
    with pytest.raises(ValueError, match="20 clips or pictures in a row could not be used"):
        data[0]


def test_nothing_to_train_on_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"nothing to train on below {tmp_path}: data\.gt is \(\)"):
        data_of(tmp_path, BICUBIC)
    write_frames(tmp_path / "clips/a", moving_frames(2, 32, 32))
    with pytest.raises(ValueError, match=r"nothing to train on below .*: data\.gt is \('clips',\)"):
        data_of(tmp_path, BICUBIC, gt=["clips"])


def test_the_digest_is_of_all_files(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips/a", moving_frames(3, 32, 32))
    (tmp_path / "stills").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "stills/s.png")

    def digest() -> str:
        return data_of(tmp_path, BICUBIC, gt=["clips"], stills=["stills"]).digest

    digests = [digest()]
    assert digest() == digests[0]
    Image.new("RGB", (40, 40), "red").save(tmp_path / "stills/s.png")
    digests.append(digest())
    Image.fromarray(moving_frames(1, 32, 32, (0, 0))[0]).save(tmp_path / "clips/a/00000003.png")
    digests.append(digest())
    write_frames(tmp_path / "clips/b", moving_frames(3, 32, 32))
    digests.append(digest())
    assert len(set(digests)) == 4
