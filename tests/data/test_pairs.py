from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from conftest import moving_frames, write_frames
from vsedvr.data.pairs import find_pairs, open_pair, to_frame, to_tensor


def write_video(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Lossless RGB."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))


def test_clips_pair_by_name_whatever_kind_they_are(tmp_path: Path) -> None:
    frames = moving_frames(3, 24, 32)
    write_frames(tmp_path / "gt/a/walk", frames)
    write_frames(tmp_path / "gt/b", frames)
    (tmp_path / "lq/a").mkdir(parents=True)
    write_video(tmp_path / "lq/a/walk.mkv", [frame[::4, ::4].copy() for frame in frames])
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
    write_video(tmp_path / "lq.mkv", [frame[::4, ::4].copy() for frame in frames])
    paths = tmp_path / "gt", tmp_path / "lq.mkv"
    assert open_pair("x", paths, tmp_path / "cache", 4, 3).num_frames == 3
    assert open_pair("x", paths, tmp_path / "cache", 4, 9).num_frames == 5


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
