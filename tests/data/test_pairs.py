from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from videos import with_noise, write_rgb

from conftest import moving_frames, write_frames
from vsedvr.data.find import find_pairs
from vsedvr.data.pairs import open_pair, to_frame, to_tensor

write_lossless = partial(write_rgb, codec="ffv1", pixels="bgr0")


def test_clips_pair_by_name_whatever_kind_they_are(tmp_path: Path) -> None:
    frames = moving_frames(3, 24, 32)
    write_frames(tmp_path / "gt/a/walk", frames)
    write_frames(tmp_path / "gt/b", frames)
    (tmp_path / "lq/a").mkdir(parents=True)
    write_lossless(tmp_path / "lq/a/walk.mkv", [frame[::4, ::4].copy() for frame in frames])
    write_frames(tmp_path / "lq/b", [frame[::4, ::4].copy() for frame in frames])
    pairs = find_pairs(tmp_path / "gt", tmp_path / "lq")
    assert list(pairs) == ["a/walk", "b"]
    pair = open_pair("a/walk", pairs["a/walk"], tmp_path / "cache", 4)
    assert pair.num_frames == 3
    np.testing.assert_array_equal(pair.gt_frame(2), frames[2])
    np.testing.assert_array_equal(pair.lq_frame(2), frames[2][::4, ::4])


def test_two_single_clips_pair_whatever_their_names(tmp_path: Path) -> None:
    write_frames(tmp_path / "sharp", moving_frames(2, 16, 16))
    write_frames(tmp_path / "blurred", moving_frames(2, 16, 16))
    pairs = find_pairs(tmp_path / "sharp", tmp_path / "blurred")
    assert pairs == {"sharp": (tmp_path / "sharp", tmp_path / "blurred")}


def test_absent_low_quality_is_the_bicubic_reduction_rounded_half_up(tmp_path: Path) -> None:
    gt = moving_frames(1, 27, 34)[0]
    write_frames(tmp_path / "gt", [gt])
    pair = open_pair("gt", find_pairs(tmp_path / "gt", None)["gt"], tmp_path / "cache", 4)
    np.testing.assert_array_equal(pair.gt_frame(0), gt[:24, :32])
    lq = pair.lq_frame(0)
    assert lq.shape == (6, 8, 3)
    pillow = np.asarray(Image.fromarray(gt[:24, :32]).resize((8, 6), Image.Resampling.BICUBIC))  # the same filter inside
    assert abs(lq[2:-2, 2:-2].astype(int) - pillow[2:-2, 2:-2]).max() <= 1
    half = np.full((8, 8, 3), 10, np.uint8)
    write_frames(tmp_path / "half", [half])
    flat = open_pair("half", find_pairs(tmp_path / "half", None)["half"], tmp_path / "cache", 4)
    assert (flat.lq_frame(0) == 10).all()


def test_only_the_first_frames(tmp_path: Path) -> None:
    frames = moving_frames(5, 16, 16)
    write_frames(tmp_path / "gt", frames)
    write_lossless(tmp_path / "lq.mkv", [frame[::4, ::4].copy() for frame in frames])
    paths = tmp_path / "gt", tmp_path / "lq.mkv"
    assert open_pair("x", paths, tmp_path / "cache", 4, 3).num_frames == 3
    assert open_pair("x", paths, tmp_path / "cache", 4, 9).num_frames == 5


@pytest.mark.parametrize("decoded", [False, True])
def test_frames_that_one_clip_lost_are_left_out_of_the_other(tmp_path: Path, decoded: bool) -> None:
    """Otherwise all frames after the damage would be compared with frames of another time."""
    frames = [np.full((32, 48, 3), 20 + 9 * n, np.uint8) for n in range(22)]
    frames[14:] = [255 - frame for frame in frames[14:]]
    for name, lost in (("gt", [10]), ("lq", [14, 15])):
        whole = write_rgb(tmp_path / f"{name}-whole.avi", frames, "mpeg4", {"g": "1", "qscale": "1"})
        with_noise(whole, tmp_path / f"{name}.avi", lost)
    write_frames(tmp_path / "folder", frames)
    cache = tmp_path / "cache" if decoded else None
    both = open_pair("x", (tmp_path / "gt.avi", tmp_path / "lq.avi"), cache, 1)
    one = open_pair("x", (tmp_path / "folder", tmp_path / "lq.avi"), cache, 1)
    left = [n for n in range(22) if n not in (14, 15)]
    for pair, numbers in ((both, [n for n in left if n != 10]), (one, left)):
        assert pair.num_frames == len(numbers)
        for n, place in enumerate(numbers):
            assert abs(pair.gt_frame(n).mean() - frames[place].mean()) < 4
            assert abs(pair.lq_frame(n).mean() - frames[place].mean()) < 4
        assert pair.scene_starts(0, pair.num_frames - 1) == [0, numbers.index(16)], "the frame at the cut is lost"
        pair.close()
    assert open_pair("x", (tmp_path / "folder", tmp_path / "lq.avi"), cache, 1, 12).num_frames == 12


def test_frames_of_other_sizes_are_named_with_their_clip(tmp_path: Path) -> None:
    frames = moving_frames(4, 32, 32)
    write_frames(tmp_path / "gt", frames)
    small = [frame[::4, ::4] for frame in frames]
    small[3] = small[3][:, :4]
    write_frames(tmp_path / "lq", small)
    paths = tmp_path / "gt", tmp_path / "lq"
    open_pair("walk", paths, None, 4, 3).check_sizes()
    with pytest.raises(ValueError, match=r"clip walk: frame 3 \(.*lq/00000003\.png\) is 4x8, the first frame is 8x8"):
        open_pair("walk", paths, None, 4).check_sizes()


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "gt/a", moving_frames(3, 32, 32))
    write_frames(tmp_path / "lq/a", moving_frames(2, 8, 8))
    write_frames(tmp_path / "lq/b", moving_frames(2, 8, 8))
    with pytest.raises(ValueError, match=r"'b' is in .*lq but not in .*gt"):
        find_pairs(tmp_path / "gt", tmp_path / "lq")
    with pytest.raises(ValueError, match=r"clip a: 3 frames in .*gt/a, but 2 in .*lq/a"):
        open_pair("a", (tmp_path / "gt/a", tmp_path / "lq/a"), tmp_path / "cache", 4)
    with pytest.raises(ValueError, match=r"low quality of 8x8 does not become ground truth of 32x32 .* enlarges 1 times"):
        open_pair("a", (tmp_path / "gt/a", tmp_path / "lq/a"), tmp_path / "cache", 1, 2)
    (tmp_path / "twice").mkdir()
    for name in ("x.mkv", "x.mp4"):
        (tmp_path / "twice" / name).touch()
    with pytest.raises(ValueError, match=r"x\.mkv and .*x\.mp4 have the same name"):
        find_pairs(tmp_path / "twice", None)


def test_eight_bits_and_back() -> None:
    frame = moving_frames(1, 9, 7)[0]
    np.testing.assert_array_equal(to_frame(to_tensor(frame)), frame)
    steps = torch.tensor([0.5, 1.5, 2.5, 254.5]).expand(3, 1, 4) / 255
    assert to_frame(steps)[0, :, 0].tolist() == [0, 2, 2, 254], "half to even"
