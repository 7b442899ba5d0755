"""Validation against metrics computed by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import moving_frames, random_model, write_frames
from vsedvr.cli import main
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.degradation import degrade
from vsedvr.train.preset import Preset, parse_preset
from vsedvr.train.validation import Validation

NETWORK = {"num_feat": 8, "num_frame": 3, "deformable_groups": 2, "num_extract_block": 1, "num_reconstruct_block": 1}


def preset(*kinds: str, **network: int) -> Preset:
    data = {"gt": ["gt"], "patch": 16} | ({} if kinds else {"lq": ["lq"]})
    return parse_preset(
        {"name": "x", "network": {**NETWORK, **network}, "data": data, "degradation": [{"kind": kind} for kind in kinds]}
    )


def psnr_y(restored: torch.Tensor, gt: np.ndarray) -> float:
    """Computes the PSNR of luma for 8-bit pictures, by the formulas."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    rounded = np.rint(restored.clamp(0, 1).numpy().astype(np.float64) * 255)
    difference = np.tensordot(weights, rounded - gt.astype(np.float64).transpose(2, 0, 1), 1)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def test_is_the_mean_luma_psnr_of_evenly_spread_windows(tmp_path: Path) -> None:
    clips = {"a": moving_frames(9, 48, 64), "b": moving_frames(3, 32, 48, (2, 0)), "c": moving_frames(2, 32, 32)}
    for name, frames in clips.items():
        write_frames(tmp_path / "gt" / name, frames)
    noisy = preset("noise", "bicubic")
    validation = Validation(noisy, tmp_path / "gt", None, tmp_path / "cache")
    model = random_model(noisy.network)
    expected = []
    for seed, (name, start) in enumerate([("a", 1), ("a", 5), ("b", 0)]):  # of 7, 7 and 1 places; c is too short
        window = torch.from_numpy(np.stack(clips[name][start : start + 3])).permute(0, 3, 1, 2).float() / 255
        lq = degrade(window, noisy.degradation, np.random.default_rng(seed))
        with torch.inference_mode():
            expected.append(psnr_y(model(lq[None])[0], clips[name][start + 1]))
    result = validation(model)
    assert result.psnr_y == pytest.approx(np.mean(expected), abs=1e-3)
    assert [picture.shape for picture in result.pictures] == [(48, 64, 3), (48, 64, 3), (32, 48, 3)]
    again = Validation(noisy, tmp_path / "gt", None, tmp_path / "cache")(model)
    assert result.psnr_y == validation(model).psnr_y == again.psnr_y


def test_the_neighbours_are_worth_what_is_lost_without_them(tmp_path: Path) -> None:
    gt = moving_frames(1, 32, 48)[0]
    noise = np.random.default_rng(0).integers(-30, 31, (3, *gt.shape))
    lq = [(gt // 2 + 60 + noise[n]).astype(np.uint8) for n in range(3)]
    write_frames(tmp_path / "gt/a", [(gt // 2 + 60).astype(np.uint8)] * 3)
    write_frames(tmp_path / "lq/a", lq)
    model = EDVR(EDVRConfig(3, 3, 8, 3, 2, 1, 1, scale=1))
    model.forward = lambda lq: lq.mean(1)  # type: ignore[method-assign]
    result = Validation(preset(scale=1), tmp_path / "gt", tmp_path / "lq", tmp_path / "cache")(model)
    mean, centre = (torch.from_numpy(picture / 255).permute(2, 0, 1) for picture in (np.mean(lq, 0), lq[1]))
    truth = (gt // 2 + 60).astype(np.uint8)
    assert result.psnr_y == pytest.approx(psnr_y(mean, truth))
    assert result.neighbours == pytest.approx(psnr_y(mean, truth) - psnr_y(centre, truth))
    assert result.neighbours > 4


def test_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    gt = moving_frames(3, 32, 48)
    lq = [(frame // 2 + 40).astype(np.uint8) for frame in gt]
    write_frames(tmp_path / "gt/a", gt)
    write_frames(tmp_path / "lq/a", lq)
    pairs = preset(scale=1)
    model = random_model(EDVRConfig(3, 3, 8, 3, 2, 1, 1, scale=1))
    torch.nn.init.zeros_(model.conv_last.weight)
    assert model.conv_last.bias is not None
    torch.nn.init.zeros_(model.conv_last.bias)  # now what comes out is what goes in
    value, _, (picture,) = Validation(pairs, tmp_path / "gt", tmp_path / "lq", tmp_path / "cache")(model)
    assert np.array_equal(picture, lq[1])
    assert value == pytest.approx(psnr_y(torch.from_numpy(lq[1]).permute(2, 0, 1) / 255, gt[1]))
    with pytest.raises(
        ValueError, match=r"x learns from pairs: to be validated on .*gt it needs the same clips in low quality"
    ):
        Validation(pairs, tmp_path / "gt", None, tmp_path / "cache")
    with pytest.raises(ValueError, match="low quality of 48x32 does not become ground truth of 48x32"):
        Validation(preset(), tmp_path / "gt", tmp_path / "lq", tmp_path / "cache")


def test_sizes_that_are_no_multiples_are_cropped_and_padded(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", moving_frames(3, 43, 50))
    reduced = preset("bicubic")
    value, _, (picture,) = Validation(reduced, tmp_path, None, tmp_path / "cache")(random_model(reduced.network))
    assert picture.shape == (40, 48, 3)
    assert np.isfinite(value)


def test_nothing_to_validate_on_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "short", moving_frames(2, 32, 32))
    with pytest.raises(ValueError, match=r"no clip in .* can be used for validation: none has 3 frames"):
        Validation(preset("bicubic"), tmp_path, None, tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="missing"):
        Validation(preset("bicubic"), tmp_path / "missing", None, tmp_path / "cache")
    assert main(["train", "small", "--output", str(tmp_path / "o"), "--valid-lq", str(tmp_path)]) == 1
    assert "--valid-lq needs --valid" in capsys.readouterr().err


def test_large_frames_are_restored_in_tiles_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that fit into one tile are restored whole; the tiles of larger frames join without a seam."""
    write_frames(tmp_path / "gt/a", moving_frames(3, 416, 480))
    reduced = preset("bicubic")
    model = random_model(reduced.network)
    validation = Validation(reduced, tmp_path / "gt", None, tmp_path / "cache")
    (whole,) = validation(model).pictures
    with torch.inference_mode():
        direct = model(validation.cases[0].lq[None].float() / 255)[0].clamp(0, 1)
    assert np.array_equal(whole, (direct * 255).round().permute(1, 2, 0).numpy())
    sizes: list[torch.Size] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-2:]))
    monkeypatch.setattr("vsedvr.train.validation.TILE", 12)
    (tiled,) = validation(model).pictures
    handle.remove()
    assert len(set(sizes)) == 1
    assert len(sizes) > 1
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1


def test_a_clip_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = moving_frames(3, 32, 48)
    write_frames(tmp_path / "gt/a", frames)
    alone = Validation(preset("bicubic"), tmp_path / "gt", None, tmp_path / "cache")
    write_frames(tmp_path / "gt/b", frames)
    broken = tmp_path / "gt/b/00000001.png"
    broken.write_bytes(broken.read_bytes()[:100])
    both = Validation(preset("bicubic"), tmp_path / "gt", None, tmp_path / "cache")
    assert both.digest == alone.digest
    (message,) = caplog.messages
    assert message.startswith("left out of the validation: ")
    assert str(broken) in message


def test_the_digest_is_of_what_is_compared(tmp_path: Path) -> None:
    frames = moving_frames(3, 32, 48)
    write_frames(tmp_path / "gt/a", frames)
    write_frames(tmp_path / "moved/c", frames)
    write_frames(tmp_path / "other/a", [frame // 2 for frame in frames])
    digests = [
        Validation(preset("bicubic"), tmp_path / name, None, tmp_path / "cache").digest for name in ("gt", "moved", "other")
    ]
    assert digests[0] == digests[1] != digests[2]
    assert Validation(preset("blur_decimate"), tmp_path / "gt", None, tmp_path / "cache").digest != digests[0]
