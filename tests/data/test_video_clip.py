"""Frames of a video by their numbers, compared with those of a decoder that goes through the whole file."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from videos import decode, with_noise, write_rgb

from conftest import moving_frames
from vsedvr.data.frame_table import FrameTable, index, look_through
from vsedvr.data.luma import luma, luma_difference
from vsedvr.data.video import VideoReading, read_video
from vsedvr.data.video_clip import KEPT, VideoClip
from vsedvr.timeline import scene_starts

FRAMES = moving_frames(60, 48, 64)
UNEVEN = np.cumsum(np.random.default_rng(1).choice([17, 33, 40, 100, 250], 60)).tolist()

VIDEOS: dict[str, Callable[[Path], Path]] = {
    "h264-b-frames.mkv": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}),
    "h264-b-frames.mp4": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}),
    "h264-b-frames.ts": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}),
    "h264-open-gop.mkv": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264-open-gop.m2ts": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264-intra-refresh.mkv": lambda path: write_rgb(path, FRAMES, options={"g": "12", "x264-params": "intra-refresh=1"}),
    "h264-uneven-times.mkv": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}, times=UNEVEN),
    "h264-uneven-times.mp4": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}, times=UNEVEN),
    "h264-without-times.264": lambda path: write_rgb(path, FRAMES, options={"g": "12", "bf": "3"}),
    "h265-open-gop.mkv": lambda path: write_rgb(
        path, FRAMES, "libx265", {"x265-params": "log-level=none:open-gop=1:keyint=12:min-keyint=12"}
    ),
    "mpeg2.ts": lambda path: write_rgb(path, FRAMES, "mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg2.mpg": lambda path: write_rgb(path, FRAMES, "mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg4-b-frames.avi": lambda path: write_rgb(path, FRAMES, "mpeg4", {"g": "12", "bf": "2"}),
    "vp8-hidden-frames.webm": lambda path: write_rgb(
        path, FRAMES, "libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}
    ),
    "vp9-hidden-frames.webm": lambda path: write_rgb(
        path, FRAMES, "libvpx-vp9", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "25", "cpu-used": "8"}
    ),
    "ffv1.mkv": lambda path: write_rgb(path, FRAMES, "ffv1", {"g": "12"}, "bgr0"),
}
"""Videos with frames in various orders, by name."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(params=VIDEOS)
def video(request: pytest.FixtureRequest, folder: Path) -> Path:
    path = folder / request.param
    return path if path.exists() else VIDEOS[request.param](path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Appends the path to a list for each decoded frame."""
    frames, seen = VideoReading.frames, list[Path]()

    def counted(self: VideoReading):  # type: ignore[no-untyped-def]
        for frame in frames(self):
            seen.append(self.path)
            yield frame

    monkeypatch.setattr(VideoReading, "frames", counted)
    return seen


@pytest.mark.parametrize("table", [index, look_through])
def test_every_frame_is_that_of_a_whole_decode_in_any_order(video: Path, table: Callable[[Path], FrameTable]) -> None:
    expected = [luma(frame) for frame in read_video(video)]
    lumas = decode(video)
    assert len(expected) == len(lumas) == 60
    for n, frame in enumerate(expected):  # PyAV converts to RGB slightly differently, but the pictures are the same
        distances = [np.abs(frame.astype(float) - other).mean() for other in lumas[max(0, n - 1) : n + 2]]
        assert np.argmin(distances) == min(n, 1)
    clip = VideoClip(video, table(video))
    assert len(clip) == 60
    for n in np.random.default_rng(0).permutation(60):
        np.testing.assert_array_equal(luma(clip[int(n)]), expected[n], err_msg=f"frame {n}")
    clip.close()


@pytest.mark.parametrize("name", [name for name in VIDEOS if "without" not in name and "refresh" not in name])
def test_one_frame_costs_a_group_of_pictures(folder: Path, decoded: list[Path], name: str) -> None:
    path = folder / name
    table = index(path if path.exists() else VIDEOS[name](path))
    assert (len(decoded) >= 60) if "vp8" in name else (len(decoded) == 1), "packets of VP8 do not tell: all is decoded once"
    decoded.clear()
    VideoClip(path, table)[50]
    assert len(decoded) <= 50 - 36 + 16, "from the key frame before the one before, and what the decoder holds back"


def test_in_order_each_frame_is_decoded_once_and_few_are_kept(folder: Path, decoded: list[Path]) -> None:
    path = folder / "ffv1.mkv"
    clip = VideoClip(path, look_through(path if path.exists() else VIDEOS[path.name](path)))
    decoded.clear()
    for n in range(60):
        for k in range(max(0, n - 2), min(60, n + 3)):
            np.testing.assert_array_equal(clip[k], FRAMES[k])
        assert len(clip._kept) <= KEPT
    assert len(decoded) == 60


def test_a_video_that_is_read_no_further_than_asked(tmp_path: Path, decoded: list[Path]) -> None:
    path = write_rgb(tmp_path / "x.mkv", FRAMES, "ffv1", pixels="bgr0")
    clip = VideoClip(path, look_through(path, 10))
    assert len(clip) == len(decoded) == 10
    np.testing.assert_array_equal(clip[9], FRAMES[9])
    with pytest.raises(IndexError):
        clip[10]
    assert len(VideoClip(path, look_through(path, 100))) == 60


def test_cuts_are_those_of_the_one_detection(tmp_path: Path, decoded: list[Path]) -> None:
    """The video has repeated pictures, which the detection skips, and a cut at the last frame."""
    first, second = moving_frames(12, 48, 64), [255 - frame for frame in moving_frames(12, 48, 64, (2, 1))]
    frames = [*np.repeat(first, 2, 0), *np.repeat(second, 3, 0), np.zeros_like(first[0])]
    path = write_rgb(tmp_path / "cuts.mkv", frames, "ffv1", {"g": "5"}, "bgr0")
    lumas = [luma(frame) for frame in frames]
    differences = [0.0, *(luma_difference(a, b) for a, b in itertools.pairwise(lumas))]
    expected = scene_starts(differences)
    assert expected == [0, 24, 60]
    clip = VideoClip(path, look_through(path))
    assert clip.scene_starts(0, len(clip) - 1) == expected
    for first_frame in range(0, 61, 7):
        near = VideoClip(path, index(path))
        last = min(first_frame + 4, 60)
        assert near.scene_starts(first_frame, last) == [n for n in expected if first_frame <= n <= last]
    decoded.clear()
    VideoClip(path, index(path)).scene_starts(38, 42)
    assert len(decoded) < 40


def test_frames_that_were_lost_have_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The packets tell 60 frames, but the decoder gives 58. This is noticed, and the decoder's numbers are used."""
    whole = write_rgb(tmp_path / "whole.mp4", FRAMES, options={"g": "10", "bf": "0"})
    damaged = with_noise(whole, tmp_path / "damaged.mp4", [17, 18])
    expected = list(read_video(damaged))
    assert len(expected) == 58
    with caplog.at_level(logging.WARNING, "vsedvr"):
        through = VideoClip(damaged, look_through(damaged))
    assert "2 frames lost" in caplog.text
    assert list(through.lost) == [17, 18]
    by_packets = VideoClip(damaged, index(damaged))
    for n in range(58):
        np.testing.assert_array_equal(by_packets[n], expected[n])
        np.testing.assert_array_equal(through[n], expected[n])
    assert len(by_packets) == len(through) == 58


def test_a_change_of_size_is_told_before_anything_is_done(tmp_path: Path) -> None:
    small = write_rgb(tmp_path / "small.ts", FRAMES[:12], "mpeg2video")
    large = write_rgb(tmp_path / "large.ts", [np.repeat(frame, 2, 0) for frame in FRAMES[:12]], "mpeg2video")
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(ValueError, match=r"both\.ts changes its size from 64x48 to 64x96 at frame \d+"):
        look_through(tmp_path / "both.ts")
