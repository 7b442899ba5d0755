"""Whole films: everything in the source is in the result too."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
import vapoursynth as vs

from conftest import moving_frames
from films import VFR, decoded_planes, make_film, planes, read_film
from vsedvr import edvr
from vsedvr.restore import Status, restore


def restored_by_filter(path: Path, model: Path, matrix: int = 6) -> list[list[np.ndarray]]:
    clip = vs.core.bs.VideoSource(str(path), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=matrix)
    return [planes(frame) for frame in edvr(clip, model=model, device_index=-1).frames(close=False)]


def test_every_frame_is_the_filters_at_its_own_time(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR)
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", codec="ffv1", segment_seconds=0.25)
    expected = restored_by_filter(film, tiny_x1)
    result = decoded_planes(tmp_path / "out.mkv")
    assert len(result) == len(expected) == len(VFR)
    assert all(np.array_equal(a, b) for x, y in zip(result, expected, strict=True) for a, b in zip(x, y, strict=True))
    assert read_film(tmp_path / "out.mkv").times == [Fraction(time, 1000) for time in VFR]
    assert not (tmp_path / "out.mkv.parts").exists()


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1", "ffv1", "prores"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_timestamps_are_exact_in_every_codec_and_container(tmp_path: Path, tiny_x1: Path, codec: str, suffix: str) -> None:
    film = make_film(tmp_path / "in.mkv", VFR[:14])
    out = tmp_path / f"out{suffix}"
    if (codec, suffix) in {("svtav1", ".mov"), ("ffv1", ".mp4"), ("ffv1", ".mov"), ("prores", ".mp4")}:
        with pytest.raises(ValueError, match=rf"{codec} does not go into {suffix} files; it goes into \.m"):
            restore(film, out, model=tiny_x1, device="cpu", codec=codec)
        return
    restore(film, out, model=tiny_x1, device="cpu", codec=codec, preset=fast(codec), segment_seconds=0.25)
    assert read_film(out).times == [Fraction(time, 1000) for time in VFR[:14]]


def fast(codec: str) -> str | None:
    return {"x264": "veryfast", "x265": "ultrafast", "svtav1": "12"}.get(codec)


def test_all_that_goes_with_the_picture_comes_along(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", rich=True, sound="aac")
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", segment_seconds=0.2)
    before, after = read_film(film), read_film(tmp_path / "out.mkv")
    assert after.times == before.times
    assert [stream[:2] for stream in after.streams] == [stream[:2] for stream in before.streams]
    for (_, _, old, old_disposition), (_, _, new, new_disposition) in zip(before.streams, after.streams, strict=True):
        assert {name: value for name, value in new.items() if name != "DURATION"} == {
            name: value for name, value in old.items() if name not in ("DURATION", "ENCODER")
        }
        assert new_disposition == old_disposition
    assert after.packets == before.packets
    assert after.chapters == before.chapters == [(0, Fraction("0.4"), "One"), (Fraction("0.4"), 1, "Two")]
    assert {name: after.metadata[name] for name in ("title", "ARTIST")} == {"title": "A film", "ARTIST": "Somebody"}


def test_memory_does_not_grow_with_the_film(tmp_path: Path, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is left out, because it would take minutes. 1500 kept frames would take 150 MB; caches fill up slowly."""
    frames = moving_frames(4, 256, 256)
    film = make_film(tmp_path / "in.avi", range(3000), codec="mpeg4", time_base=Fraction(1, 25), frames=frames * 750)
    monkeypatch.setattr("vsedvr.restore.segment.restored_clip", lambda clip, *others: clip)
    memory = {}

    def on_progress(status: Status) -> None:
        if status.done in (1500, 3000):
            memory[status.done] = psutil.Process().memory_info().rss

    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", preset="ultrafast", on_progress=on_progress)
    assert memory[3000] - memory[1500] < 75e6
    assert len(read_film(tmp_path / "out.mkv").times) == 3000
