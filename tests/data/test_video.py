"""Video files as users have them: damaged, with cover pictures, interlaced, or not videos at all."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from videos import with_noise, write_rgb

from conftest import moving_frames
from vsedvr.data.video import MAX_DAMAGED, clock, read_video

FRAMES = moving_frames(40, 48, 64)


def errors_of(read: list[np.ndarray], expected: list[np.ndarray]) -> list[float]:
    """Returns the mean difference of each frame to the most similar expected frame."""
    return [min(float(np.abs(a.astype(float) - b).mean()) for b in expected) for a in read]


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {"g": "10", "bf": "0"}),
        ("avi", "mpeg4", {"g": "10", "bf": "0"}),
        ("webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "g": "10"}),
    ],
)
def test_a_damaged_packet_costs_its_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, codec: str, options: dict[str, str]
) -> None:
    whole = write_rgb(tmp_path / f"whole.{suffix}", FRAMES, codec, options)
    damaged = with_noise(whole, tmp_path / f"damaged.{suffix}", [17, 18])
    with caplog.at_level(logging.WARNING, "vsedvr"):
        read = list(read_video(damaged))
    assert len(read) == 38
    assert max(errors_of(read, FRAMES)) < 30
    assert [record.message for record in caplog.records] == [
        f"{damaged} is damaged at 0:00:00.68, 0:00:00.72: 2 frames lost",
    ]


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4", "avi"])
def test_noise_in_the_file_or_a_lost_end_stops_nothing(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    content = bytearray(write_rgb(tmp_path / f"whole.{suffix}", FRAMES, codec, {"g": "10", "bf": "0"}).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = np.random.default_rng(1).integers(0, 256, 300, np.uint8).tobytes()
    (tmp_path / f"noise.{suffix}").write_bytes(content)
    assert 30 <= len(list(read_video(tmp_path / f"noise.{suffix}"))) <= 40
    (tmp_path / f"cut.{suffix}").write_bytes((tmp_path / f"whole.{suffix}").read_bytes()[: len(content) * 8 // 10])
    if suffix == "mp4":  # an mp4 file has its index at the end
        with pytest.raises(ValueError, match=r"cannot read the video .*cut\.mp4: it is damaged or no video"):
            list(read_video(tmp_path / "cut.mp4"))
    else:
        assert 10 <= len(list(read_video(tmp_path / f"cut.{suffix}"))) < 40


def test_many_damaged_packets_in_a_row_end_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [FRAMES[n % 40] for n in range(MAX_DAMAGED + 20)]
    whole = write_rgb(tmp_path / "whole.avi", frames, "mpeg4", {"bf": "0"})
    damaged = with_noise(whole, tmp_path / "damaged.avi", range(5, MAX_DAMAGED + 10))
    with caplog.at_level(logging.WARNING, "vsedvr"):
        assert len(list(read_video(damaged))) == 5
    assert caplog.records[-1].message == f"{damaged}: nothing can be read from 0:00:00.20 on"
    with pytest.raises(ValueError, match=r"nothing\.avi: none of its frames can be decoded"):
        list(read_video(with_noise(whole, tmp_path / "nothing.avi", range(len(frames)))))


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_cover_picture_is_no_video(tmp_path: Path, suffix: str, marked: bool) -> None:
    path = tmp_path / f"cover.{suffix}"
    cover = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), format="rgb24")
    with av.open(path, "w") as container:
        picture = container.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        if marked:
            picture.disposition = Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.mux(picture.encode(cover))
        for frame in FRAMES[:8]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
        container.mux(picture.encode(None))
    read = list(read_video(path))
    assert [frame.shape for frame in read] == [(48, 64, 3)] * 8


def test_interlaced_video_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_rgb(tmp_path / "tv.ts", FRAMES[:6], "mpeg2video", {"flags": "+ildct+ilme", "field_order": "tt"})
    with caplog.at_level(logging.WARNING, "vsedvr"):
        assert len(list(read_video(path))) == 6
    assert [record.message for record in caplog.records] == [
        f"{path} is interlaced; its frames are taken as they are: deinterlace it first"
    ]


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mkv").touch()
    for name in ("text.mp4", "empty.mkv"):
        with pytest.raises(ValueError, match=rf"^cannot read the video .*{name}: it is damaged or no video$"):
            list(read_video(tmp_path / name))
    with pytest.raises(ValueError, match=r"^cannot read the video .*missing\.mp4: there is no such file$"):
        list(read_video(tmp_path / "missing.mp4"))
    with av.open(tmp_path / "sound.mkv", "w") as container:
        stream = container.add_stream("flac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        sound.rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound\.mkv has no video stream"):
        list(read_video(tmp_path / "sound.mkv"))


def test_times_are_shown_as_players_show_them() -> None:
    assert [clock(second) for second in (-1, 0, 3.456, 65, 3725.5)] == [
        "0:00:00.00",
        "0:00:00.00",
        "0:00:03.46",
        "0:01:05.00",
        "1:02:05.50",
    ]
