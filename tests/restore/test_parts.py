"""Parts of films, sizes, sound from other files, and file formats that cannot hold everything."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from films import VFR, decoded_planes, make_film, planes, read_film
from vsedvr import edvr
from vsedvr.restore import Status, restore
from vsedvr.restore.settings import RestoreSettings, parse_moment, parse_rate


@pytest.mark.parametrize(("start", "end", "kept"), [("0.2s", 9, range(4, 9)), (4, "0:00.3", range(4, 7)), (None, 5, range(5))])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_part_of_a_film_has_its_frames_and_its_sound(
    tmp_path: Path, tiny_x1: Path, start: str | int | None, end: str | int, kept: range, suffix: str
) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, sound="ac3", rich=True)
    settings = {"model": tiny_x1, "device": "cpu", "start": start, "end": end, "segment_seconds": 0.1}
    restore(film, tmp_path / f"out{suffix}", codec="ffv1" if suffix == ".mkv" else None, **settings)  # type: ignore[arg-type]
    before, after = read_film(film), read_film(tmp_path / f"out{suffix}")
    zero = Fraction(VFR[kept.start], 1000)
    assert after.times == [Fraction(VFR[n], 1000) - zero for n in kept]
    stop = Fraction(VFR[kept.stop], 1000)
    first = Fraction(-1) if start is None else zero  # the encoder's run-up stays where nothing is cut off
    expected = [(time - zero, data) for time, data in before.packets[1] if first <= time < stop]
    assert [data for _, data in after.packets[1]] == [data for _, data in expected]
    assert [float(time) for time, _ in after.packets[1]] == pytest.approx([float(time) for time, _ in expected], abs=1e-3)
    assert after.chapters[0][0] == 0
    assert after.chapters[-1][1] == stop - zero
    if suffix == ".mkv":  # frames at the beginning are restored from their neighbours in the film
        clip = vs.core.bs.VideoSource(str(film), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=6)
        restored = edvr(clip, model=tiny_x1, device_index=-1)[kept.start : kept.stop]
        for a, b in zip(decoded_planes(tmp_path / "out.mkv"), restored.frames(close=False), strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, planes(b), strict=True))


def test_subtitles_that_begin_before_the_part_are_shown_from_its_start(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, sound="aac", rich=True)
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", start="0.2s")
    texts = read_film(tmp_path / "out.mkv").packets[3]
    assert texts == [(0, "<i>Hello</i> wörld".encode()), (Fraction("0.4"), b"Second\nline")]


@pytest.mark.parametrize(("start", "end"), [(24, None), ("2s", None), (5, 5), ("0.5s", "0.5s"), (9, 3)])
def test_a_part_without_frames_is_refused(tmp_path: Path, tiny_x1: Path, start: str | int, end: str | int | None) -> None:
    film = make_film(tmp_path / "in.mkv", VFR)
    with pytest.raises(ValueError, match=r"no frames lie between .* has 24 frames and lasts 0:00:01\.041"):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", start=start, end=end)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"height": 96}, (96, 128)),
        ({"scale": 2}, (96, 128)),
        ({"height": 31}, (32, 42)),
        ({"scale": 0.5}, (24, 32)),
        ({}, (48, 64)),
    ],
)
def test_sizes_keep_the_aspect_and_are_even(
    tmp_path: Path, tiny_x1: Path, settings: dict[str, float], size: tuple[int, int]
) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40], aspect=Fraction(4, 3))
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", **settings)  # type: ignore[arg-type]
    video = read_film(tmp_path / "out.mkv").video
    assert video["size"] == size
    assert video["aspect"] == Fraction(4, 3)


def test_an_x4_model_with_a_scale_gives_the_size_that_was_asked_for(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40])
    restore(film, tmp_path / "out.mkv", device="cpu", scale=2)
    assert read_film(tmp_path / "out.mkv").video["size"] == (96, 128)


@pytest.mark.parametrize("tile", [None, (16, 24)])
def test_a_second_model_and_an_ensemble_as_in_the_filter(tmp_path: Path, tiny_x1: Path, tile: tuple[int, int] | None) -> None:
    film = make_film(tmp_path / "in.mkv", VFR[:6])
    restore(film, tmp_path / "out.mkv", model=tiny_x1, refine="denoise", ensemble=4, device="cpu", codec="ffv1", tile=tile)
    clip = vs.core.bs.VideoSource(str(film), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=6)
    expected = edvr(clip, model=tiny_x1, refine="denoise", ensemble=4, device_index=-1, output_format=vs.YUV420P8, tile=tile)
    for a, b in zip(decoded_planes(tmp_path / "out.mkv"), expected.frames(close=False), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, planes(b), strict=True))


def test_sound_of_a_file_takes_the_place_of_the_films(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", sound="aac", rich=True)
    other = make_film(tmp_path / "other.mkv", sound="flac")
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", audio=other)
    after = read_film(tmp_path / "out.mkv")
    assert sorted((kind, codec) for kind, codec, _, _ in after.streams) == [
        ("attachment", ""),
        ("audio", "flac"),
        ("subtitle", "srt"),
        ("video", "h264"),
    ]
    silent = make_film(tmp_path / "silent.mkv")
    with pytest.raises(ValueError, match=r"silent\.mkv has no sound"):
        restore(film, tmp_path / "no.mkv", model=tiny_x1, device="cpu", audio=silent)


def test_mp4_gets_subtitles_in_its_own_form_and_says_what_it_does_not_take(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", sound="aac", rich=True)
    seen: list[Status] = []
    restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu", on_progress=seen.append)
    assert "Subtitles in stream 3 become mov_text: .mp4 takes no srt." in seen[-2].notes
    assert "Left out, since .mp4 takes none: attachment font.ttf, stream 4." in seen[-2].notes
    after = read_film(tmp_path / "out.mp4")
    texts = [(time, data[2 : 2 + int.from_bytes(data[:2])].decode()) for time, data in after.packets[3] if len(data) > 2]
    assert texts == [(Fraction("0.1"), "Hello wörld"), (Fraction("0.6"), "Second\nline")]
    restore(tmp_path / "out.mp4", tmp_path / "back.mkv", model=tiny_x1, device="cpu")
    back = read_film(tmp_path / "back.mkv")
    assert back.packets[3] == read_film(film).packets[3]
    assert [metadata.get("language") for _, _, metadata, _ in back.streams] == ["fre", "ger", "eng", "spa"]
    assert [metadata.get("title") for _, _, metadata, _ in back.streams] == ["Picture", "Ton", "Commentary", None]


def test_plain_sound_goes_into_mp4(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", sound="pcm_s16le")
    restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu")
    before, after = (b"".join(data for _, data in read_film(path).packets[1]) for path in (film, tmp_path / "out.mp4"))
    assert after == before


def test_sound_that_does_not_go_into_the_container_is_an_error_before_the_first_frame(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.avi", range(5), sound="adpcm_ms", codec="mpeg4", time_base=Fraction(1, 25))
    seen: list[Status] = []
    with pytest.raises(ValueError, match=r"sound of the kind adpcm_ms .* does not go into \.mp4 files; choose \.mkv"):
        restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu", on_progress=seen.append)
    assert [status.stage for status in seen] == ["reading"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("250", 250), ("90s", Fraction(90)), ("1:30", Fraction(90)), ("1:02:03.5", Fraction("3723.5")), ("0.25", Fraction(1, 4))],
)
def test_places_are_frames_or_times(text: str, expected: int | Fraction) -> None:
    assert parse_moment(text) == expected
    assert type(parse_moment(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("23.976", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
    ],
)
def test_rates(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": "soon"}, "frame number .* or a time .* got 'soon'"),
        ({"height": 0}, "height must be at least 1, got 0"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"scale": 2.0, "height": 9}, "height or scale, not both"),
        ({"matrix": "710"}, "matrix must be one of 709.* got '710'"),
        ({"device": "gpu"}, "device must be .* got 'gpu'"),
        ({"fps": "0"}, "frames a second must be"),
        ({"segment_seconds": 0.0}, "segment_seconds must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestoreSettings(**wrong)  # type: ignore[arg-type]
    assert RestoreSettings.from_json(RestoreSettings(tile=(64, 64)).json()) == RestoreSettings(tile=(64, 64))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("out.avi", {}, r"must end in \.mkv, \.mov, \.mp4, or have no suffix"),
        ("out.mkv", {"codec": "h265"}, "codec must be one of x264"),
        ("out.mkv", {"crf": 20.0, "codec": "ffv1"}, "ffv1 has no crf"),
        ("out.mkv", {"preset": "bogus"}, "the encoder libx264 does not work with 64x48"),
        ("out.mkv", {"pix_fmt": "yuv999"}, "pix_fmt of libx264 must be one of yuv420p"),
        ("out.mkv", {"encoder_options": {"tunee": "film"}}, "the encoder libx264 knows no option tunee"),
        ("out.mkv", {"model": "nothing"}, "nothing"),
        ("out", {"codec": "x264"}, "no suffix, so it becomes a folder of PNG"),
        ("out.mkv", {"fps": "25"}, r"fps .* is for folders of pictures"),
    ],
)
def test_outputs_that_cannot_be_are_refused_and_leave_nothing(
    tmp_path: Path, tiny_x1: Path, name: str, settings: dict[str, object], message: str
) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40])
    with pytest.raises(ValueError, match=message):
        restore(film, tmp_path / name, **{"model": tiny_x1, "device": "cpu", **settings})  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]
