"""Films of all kinds: pixel aspects, colours, sizes, scripts, pictures, damage."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import vapoursynth as vs
from numpy.typing import NDArray
from PIL import Image

from conftest import moving_frames, write_frames
from films import VFR, decoded_planes, make_film, planes, read_film
from vsedvr import edvr
from vsedvr.restore import restore
from vsedvr.restore.facts import exact

HDR10 = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16, "chroma_sample_location": 3}
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def test_rotation_is_applied_and_the_shape_of_pixels_turns_with_it(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mp4", rotation=90, aspect=Fraction(4, 3), codec="mpeg4")
    restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu")
    result = read_film(tmp_path / "out.mp4")
    assert result.video["size"] == (64, 48)
    assert result.video["aspect"] == Fraction(3, 4)
    assert result.frames[0].rotation == 0


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("x264", ".mkv"), ("x264", ".mp4"), ("svtav1", ".mkv"), ("svtav1", ".mp4"), ("ffv1", ".mkv"), ("prores", ".mkv")],
)
def test_the_shape_of_pixels_arrives(tmp_path: Path, tiny_x1: Path, codec: str, suffix: str) -> None:
    film = make_film(tmp_path / "in.mp4", [0, 40, 80], aspect=Fraction(16, 11))
    restore(film, tmp_path / f"out{suffix}", model=tiny_x1, device="cpu", codec=codec)
    assert read_film(tmp_path / f"out{suffix}").video["aspect"] == Fraction(16, 11)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("x264", "yuv420p10le"), ("x265", "yuv420p10le"), ("svtav1", "yuv420p10le")])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_hdr10_arrives_with_ten_bits_and_all_its_tags(
    tmp_path: Path, tiny_x1: Path, codec: str, pix_fmt: str, suffix: str
) -> None:
    params = f"log-level=none:hdr10=1:master-display={MASTERING}:max-cll=1000,400"
    film = make_film(
        tmp_path / "in.mkv", [0, 40, 80], codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": params}, tags=HDR10
    )
    restore(film, tmp_path / f"out{suffix}", model=tiny_x1, device="cpu", codec=codec)
    result = read_film(tmp_path / f"out{suffix}")
    assert result.video["pix_fmt"] == pix_fmt
    assert result.video["colour"] == (1, 9, 9, 16)
    assert result.video["chroma"] == 3
    before, after = (
        {name: v for name, v in dict(clip.get_frame(0).props).items() if name.startswith(("Mastering", "ContentLight"))}
        for clip in (vs.core.bs.VideoSource(str(path), cachemode=0) for path in (film, tmp_path / f"out{suffix}"))
    )
    assert len(before) == 8
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert after[name] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [("x264", "yuv420p"), ("x265", "yuv420p"), ("svtav1", "yuv420p"), ("ffv1", "yuv420p"), ("prores", "yuv422p10le")],
)
def test_eight_bits_stay_eight_where_the_encoder_has_them(tmp_path: Path, tiny_x1: Path, codec: str, expected: str) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40], tags={"color_range": 2, "colorspace": 1})
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", codec=codec)
    result = read_film(tmp_path / "out.mkv").video
    assert result["pix_fmt"].replace("j", "") == expected
    assert result["colour"][:2] == (2, 1)


@pytest.mark.parametrize(("lines", "matrix"), [(48, 6), (576, 6), (578, 1)])
def test_a_matrix_that_is_not_known_is_that_of_players_and_is_written_down(
    tmp_path: Path, tiny_x1: Path, lines: int, matrix: int
) -> None:
    film = make_film(tmp_path / "in.mkv", [0], size=(lines, 64))
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu")
    assert read_film(tmp_path / "out.mkv").video["colour"][1] == matrix
    restore(film, tmp_path / "asked.mkv", model=tiny_x1, device="cpu", matrix="2020")
    assert read_film(tmp_path / "asked.mkv").video["colour"][1] == 9


def test_an_interlaced_film_is_refused_with_the_way_out(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40, 80], options={"x264-params": "tff=1"})
    with pytest.raises(ValueError, match=r"interlaced.*restore a script \(\.vpy\) that deinterlaces"):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]


def test_a_film_of_one_frame(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", [0], sound="aac")
    restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu")
    result = read_film(tmp_path / "out.mp4")
    assert result.times == [0]
    assert len(result.packets[1]) > 40


@pytest.mark.parametrize(("model", "suffix"), [("x1", ".mkv"), ("small", ".mkv"), ("x1", "")])
def test_pictures_of_odd_sizes_lose_nothing(tmp_path: Path, tiny_x1: Path, model: str, suffix: str) -> None:
    write_frames(tmp_path / "in", moving_frames(3, 25, 31))
    restore(tmp_path / "in", tmp_path / f"out{suffix}", model=tiny_x1 if model == "x1" else model, device="cpu", fps=24)
    if suffix:
        result = read_film(tmp_path / "out.mkv")
        assert result.video["size"] == ((26, 32) if model == "x1" else (100, 124))
        assert result.times == [Fraction(round(1000 * n / 24), 1000) for n in range(3)]
    else:
        assert np.asarray(Image.open(tmp_path / "out" / "00000002.png")).shape == (25, 31, 3)


def write_png(path: Path, samples: NDArray[Any]) -> None:
    context: Any = av.CodecContext.create("png", "w")
    context.height, context.width = samples.shape[:2]
    context.pix_fmt, context.time_base = "rgb24" if samples.dtype == np.uint8 else "rgb48be", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(samples, format="rgb24" if samples.dtype == np.uint8 else "rgb48le")
    packets = context.encode(frame.reformat(format=context.pix_fmt)) + context.encode(None)
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_folder_of_pictures_becomes_one_with_the_same_names(tmp_path: Path, tiny_x1: Path, depth: int) -> None:
    frames = moving_frames(11, 24, 32)
    (tmp_path / "in").mkdir()
    for n, frame in enumerate(frames):
        write_png(tmp_path / "in" / f"shot{n}.png", frame if depth == 8 else frame.astype(np.uint16) * 257)
    restore(tmp_path / "in", tmp_path / "out", model=tiny_x1, device="cpu", fps="23.976", segment_seconds=0.2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"shot{n}.png" for n in range(11))
    clip = vs.core.std.BlankClip(width=32, height=24, format=vs.RGB24 if depth == 8 else vs.RGB48, length=11, keep=True)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        filled = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(filled[plane]), frames[n][..., plane].astype(np.uint16) * (1 if depth == 8 else 257), "unsafe")
        return filled

    expected = edvr(clip.std.ModifyFrame(clip, fill), model=tiny_x1, device_index=-1)
    for n, frame in enumerate(expected.frames(close=False)):
        with av.open(str(tmp_path / "out" / f"shot{n}.png")) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24" if depth == 8 else "rgb48le")
        assert np.array_equal(picture, np.stack(planes(frame), -1))


def test_a_picture_of_another_size_is_named(tmp_path: Path, tiny_x1: Path) -> None:
    write_frames(tmp_path / "in", moving_frames(3, 24, 32))
    Image.fromarray(moving_frames(1, 24, 30)[0]).save(tmp_path / "in" / "00000001.png")
    with pytest.raises(ValueError, match=r"in cannot be restored: .*00000001\.png has 30x24 pixels, 00000000\.png 32x24"):
        restore(tmp_path / "in", tmp_path / "out.mkv", model=tiny_x1, device="cpu", fps=25)


def test_a_script_is_restored_with_sound_from_a_file(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", rich=True, sound="aac")
    script = tmp_path / "film.vpy"
    script.write_text(
        "import vapoursynth as vs\n"
        "from pathlib import Path\n"
        "source = str(Path(__file__).with_name('in.mkv'))\n"
        "clip = vs.core.bs.VideoSource(source, cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=5)\n"
        "clip.std.Crop(left=8).std.FlipVertical().set_output()\n"
        "assert __name__ == '__vapoursynth__'\n"
    )
    restore(script, tmp_path / "out.mkv", model=tiny_x1, device="cpu", codec="ffv1", audio=film, segment_seconds=0.2)
    clip = vs.core.bs.VideoSource(str(film), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=5)
    expected = edvr(clip.std.Crop(left=8).std.FlipVertical(), model=tiny_x1, device_index=-1)
    result = decoded_planes(tmp_path / "out.mkv")
    for a, b in zip(result, expected.frames(close=False), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, planes(b), strict=True))
    streams = read_film(tmp_path / "out.mkv").streams
    assert [(kind, data.get("language")) for kind, _, data, _ in streams] == [
        ("video", None),
        ("audio", "ger"),
        ("audio", "eng"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense(", "SyntaxError"),
        ("x = 1", "sets no output 0"),
        ("raise RuntimeError('plugin is not there')", "RuntimeError: plugin is not there"),
        ("import vapoursynth as vs\nvs.core.std.BlankClip(fpsnum=0, fpsden=1).set_output()", "no constant rate.*AssumeFPS"),
    ],
)
def test_a_script_that_does_not_work_says_why(tmp_path: Path, tiny_x1: Path, text: str, problem: str) -> None:
    (tmp_path / "film.vpy").write_text(text)
    with pytest.raises(ValueError, match=problem):
        restore(tmp_path / "film.vpy", tmp_path / "out.mkv", model=tiny_x1, device="cpu")


def damage(path: Path, number: int) -> None:
    """Overwrites all of a packet except its beginning."""
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][number]
    content = path.read_bytes()
    at = content.index(packet) + 4
    path.write_bytes(content[:at] + bytes(len(packet) - 4) + content[at + len(packet) - 4 :])


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("in.mkv", "libx264", "yuv420p"), ("in.avi", "mjpeg", "yuvj420p")])
def test_a_damaged_frame_is_named_and_can_be_skipped(
    tmp_path: Path, tiny_x1: Path, name: str, codec: str, pix_fmt: str
) -> None:
    options = {"bf": "0", "g": "14"} if codec == "libx264" else {}  # the last frame of a group: no other refers to it
    film = make_film(tmp_path / name, range(0, 800, 40), codec=codec, pix_fmt=pix_fmt, options=options)
    whole = tmp_path / f"whole{film.suffix}"
    whole.write_bytes(film.read_bytes())
    damage(film, 13)
    settings = {"model": tiny_x1, "device": "cpu", "codec": "ffv1", "segment_seconds": 0.2}
    with pytest.raises(ValueError, match=r"is damaged: frame 13, at 0:00:00\.520, cannot be .*--skip-damaged"):
        restore(film, tmp_path / "out.mkv", **settings)  # type: ignore[arg-type]
    restore(film, tmp_path / "out.mkv", skip_damaged=True, **settings)  # type: ignore[arg-type]
    assert read_film(tmp_path / "out.mkv").times == [Fraction(n, 25) for n in range(20)]
    clip = vs.core.bs.VideoSource(str(whole), cachemode=0, showprogress=False).std.FreezeFrames([13], [13], [12])
    if clip.get_frame(0).props.get("_Matrix", 2) == 2:
        clip = clip.std.SetFrameProps(_Matrix=6)
    expected = edvr(clip, model=tiny_x1, device_index=-1)
    for a, b in zip(decoded_planes(tmp_path / "out.mkv"), expected.frames(close=False), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, planes(b), strict=True))


def test_a_film_that_is_cut_off_says_where(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", VFR, options={"g": "4"})
    content = film.read_bytes()
    film.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(ValueError, match=r"cut off or damaged: it should last 0:00:01\.\d+ and can be read up to 0:00:00"):
        restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu")
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", skip_damaged=True)
    times = read_film(tmp_path / "out.mkv").times
    assert times == [Fraction(time, 1000) for time in VFR[: len(times)]]


@pytest.mark.parametrize("content", [b"", b"not a film", bytes(1000)])
def test_what_is_no_film_is_named(tmp_path: Path, tiny_x1: Path, content: bytes) -> None:
    (tmp_path / "in.mkv").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*in\.mkv"):
        restore(tmp_path / "in.mkv", tmp_path / "out.mkv", model=tiny_x1, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing"):
        restore(tmp_path / "nothing.mkv", tmp_path / "out.mkv", model=tiny_x1, device="cpu")


@pytest.mark.parametrize("codec", ["ffv1", "prores", "svtav1", "x265"])
def test_matroska_tells_of_shape_and_hdr10_whatever_the_codec(tmp_path: Path, tiny_x1: Path, codec: str) -> None:
    params = f"log-level=none:hdr10=1:master-display={MASTERING}:max-cll=1000,400"
    film = make_film(
        tmp_path / "in.mkv",
        [0, 40, 80],
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": params},
        tags=HDR10,
        aspect=Fraction(16, 11),
        sound="aac",
        rich=True,
    )
    restore(film, tmp_path / "out.mkv", model=tiny_x1, device="cpu", codec=codec)
    with av.open(str(tmp_path / "out.mkv")) as container:
        stream = container.streams.video[0]
        assert exact(stream.sample_aspect_ratio or 0) == Fraction(16, 11)
        assert stream.metadata["title"] == "Picture"
        data = stream.codec_context.coded_side_data
        assert {"mastering_display_metadata", "content_light_level"} <= data.keys()
        points = [int.from_bytes(data["mastering_display_metadata"][at : at + 4], "little") for at in range(0, 80, 4)]
        numbers = [a / b for a, b in zip(points[::2], points[1::2], strict=True)]
        assert numbers == pytest.approx([0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000], abs=1e-4)
        assert len(container.streams) == 5
    assert read_film(tmp_path / "out.mkv").packets == read_film(film).packets


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "sound"),
    [
        ("in.ts", "libx264", "yuv420p", "aac"),
        ("in.mpg", "mpeg2video", "yuv420p", "mp2"),
        ("in.avi", "mpeg4", "yuv420p", "mp3"),
        ("in.webm", "libvpx-vp9", "yuv420p", "libopus"),
        ("in.mov", "prores_ks", "yuv422p10le", "pcm_s24le"),
        ("in.mp4", "libx265", "yuv420p10le", "aac"),
    ],
)
def test_films_of_every_container_keep_picture_and_sound_together(
    tmp_path: Path, tiny_x1: Path, name: str, codec: str, pix_fmt: str, sound: str
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    base = Fraction(1, 1000) if name == "in.webm" else Fraction(1, 25)
    times = [n * round(1 / 25 / base) for n in range(12)]
    film = make_film(tmp_path / name, times, codec=codec, pix_fmt=pix_fmt, sound=sound, time_base=base, options=options)
    restore(film, tmp_path / "out.mp4", model=tiny_x1, device="cpu", segment_seconds=0.2)
    before, after = read_film(film), read_film(tmp_path / "out.mp4")
    zero = before.times[0] - after.times[0]
    assert [time + zero for time in after.times] == before.times
    assert float(before.packets[1][0][0] - zero) == pytest.approx(float(after.packets[1][0][0]), abs=1e-3)
    assert len(after.packets[1]) == len(before.packets[1])


def test_x265_begins_its_file_whatever_is_in_memory(tmp_path: Path, tiny_x1: Path) -> None:
    film = make_film(tmp_path / "in.mkv", [0, 40])
    for k in range(3):
        filled = [np.full(size, 255, np.uint8) for size in range(16, 100_000, 1500)]
        del filled
        restore(film, tmp_path / f"{k}.mp4", model=tiny_x1, device="cpu", codec="x265", preset="ultrafast")
        assert len(read_film(tmp_path / f"{k}.mp4").frames) == 2
