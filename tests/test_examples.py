"""Every script of examples/ runs, as its first lines say, and does what they promise."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import vapoursynth as vs
from numpy.typing import NDArray

import vsedvr
from conftest import Vspipe, moving_frames

EXAMPLES = Path(__file__).parents[1] / "examples"
HEADERS = {
    "av1an.vpy": b"C420p10 W256 H192 F24:1",
    "chained.vpy": b"C420p10 W128 H96 F24:1",
    "deinterlace.vpy": b"C420 W256 H192 F48:1",
    "demo.vpy": b"C420 W64 H48 F24:1",
    "denoise.vpy": b"C420 W256 H192 F24:1",
    "grain.vpy": b"C420p10 W256 H192 F24:1",
    "prepare.vpy": b"C420 W64 H48 F48:1",
    "preview.vpy": b"C420 W256 H192 F24:1",
    "restore.vpy": b"C420 W256 H192 F24:1",
    "scenes.vpy": b"C420 W256 H192 F24:1",
}

Pictures = Iterable[NDArray[np.uint8]]


def script(name: str, film: Path) -> str:
    """The text of an example, with the path of the film where the name of a film stands."""
    return (EXAMPLES / name).read_text().replace('"in.mkv"', repr(str(film)))


def noise(count: int = 4, width: int = 64, height: int = 48) -> Pictures:
    return (np.random.default_rng(n).integers(0, 255, (height, width, 3), np.uint8) for n in range(count))


def write_film(path: Path, pictures: Pictures, codec: str = "libx264", **settings: Any) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=24)
        assert isinstance(stream, av.VideoStream)
        for n, picture in enumerate(pictures):
            if n == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                for name, value in settings.items():
                    setattr(stream.codec_context, name, value)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "in.mkv", noise())


def lumas(y4m: bytes, width: int = 256, height: int = 192, bits: int = 8) -> list[NDArray[np.int64]]:
    """The luma of each frame of 4:2:0."""
    samples = np.dtype("u1" if bits == 8 else "<u2")
    size = width * height * 3 // 2 * samples.itemsize
    _, *frames = y4m.split(b"FRAME\n")
    assert all(len(frame) == size for frame in frames)
    return [np.frombuffer(frame, samples, width * height).reshape(height, width).astype(np.int64) for frame in frames]


@pytest.mark.parametrize("name", HEADERS)
def test_an_example_runs(vspipe: Vspipe, film: Path, name: str) -> None:
    result = vspipe(script(name, film), "-c", "y4m", "-a", f"source={film}", "-a", "frames=4")
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.startswith(b"YUV4MPEG2 " + HEADERS[name])
    assert result.stdout.count(b"FRAME\n") == (8 if b"F48" in HEADERS[name] else 4)


def test_every_example_is_among_these() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.vpy")) == sorted([*HEADERS, "mlrt.vpy"])


def test_vs_mlrt_restores_as_the_filter_does(vspipe: Vspipe, tmp_path: Path, small_onnx: Path) -> None:
    """Of a film whose sizes the network does not take as they are."""
    if not hasattr(vs.core, "ort"):
        pytest.skip("no vapoursynth-mlrt-ort")
    film = write_film(tmp_path / "in.mkv", moving_frames(4, 38, 50))
    text = script("mlrt.vpy", film)
    tail = text[text.index("right, bottom =") :]
    filter = """import vsedvr
restored = vsedvr.edvr(rgb, padding="replicate", sc=False, device_index=-1)
restored.resize.Bicubic(format=vs.YUV420P8, matrix=matrix).set_output()"""
    theirs, ours = (
        vspipe(each, "-c", "y4m", "-a", f"source={film}", "-a", f"model={small_onnx}")
        for each in (text, text.replace(tail, filter))
    )
    assert theirs.returncode == 0, theirs.stderr.decode()
    assert theirs.stdout.startswith(b"YUV4MPEG2 C420 W200 H152 F24:1")
    both = [lumas(result.stdout, 200, 152) for result in (theirs, ours)]
    assert len(both[0]) == 4
    assert max(np.abs(one - other).max() for one, other in zip(*both, strict=True)) <= 1


def test_interlaced_film_becomes_one_picture_a_field(vspipe: Vspipe, tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    film = write_film(tmp_path / "in.mkv", noise(), options=options)
    refused = vspipe(script("restore.vpy", film), "-a", f"source={film}")
    assert b"is interlaced" in refused.stderr, "what the script is for"
    result = vspipe(script("deinterlace.vpy", film), "-c", "y4m", "-a", f"source={film}")
    assert result.returncode == 0, result.stderr.decode()
    assert len(lumas(result.stdout)) == 8


def test_what_comes_before_is_restored_by_the_command(
    tmp_path: Path, film: Path, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the script's film lies
    vsedvr.restore(EXAMPLES / "prepare.vpy", "out.mkv", model=tiny_x1, device="cpu")
    with av.open("out.mkv") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 48)
        assert stream.average_rate == Fraction(48)
        assert len(list(container.decode(stream))) == 8


def test_preview_shows_before_and_after_at_one_size(vspipe: Vspipe, film: Path) -> None:
    before, after = (vspipe(script("preview.vpy", film), "-c", "y4m", "-o", output).stdout for output in "01")
    assert before.startswith(b"YUV4MPEG2 " + HEADERS["preview.vpy"])
    assert len(before) == len(after)
    assert before != after


def test_less_noise_goes_in(vspipe: Vspipe, tmp_path: Path) -> None:
    still = [
        np.clip(np.random.default_rng(n).normal(128, 4, (48, 64, 1)), 0, 255).repeat(3, -1).astype(np.uint8) for n in range(6)
    ]
    film = write_film(tmp_path / "in.mkv", still, codec="ffv1")
    text = script("denoise.vpy", film)
    bare = "".join(line for line in text.splitlines(keepends=True) if "DegrainMedian" not in line)
    assert bare != text
    deviations = [np.std(lumas(vspipe(each, "-c", "y4m", "-a", f"source={film}").stdout)[2:4]) for each in (text, bare)]
    assert deviations[0] < 0.8 * deviations[1]


def test_cuts_come_from_the_plugin(vspipe: Vspipe, tmp_path: Path) -> None:
    """Two scenes so alike that the filter's own detection takes them for one; each is restored as if it were a film."""
    scenes = [
        np.kron(np.random.default_rng(n).integers(112, 145, (6, 8), np.uint8), np.ones((8, 8), np.uint8)) for n in range(2)
    ]
    films = [
        write_film(tmp_path / f"{k}.mkv", [np.stack([scene] * 3, -1) for scene in pictures], codec="ffv1")
        for k, pictures in enumerate(([scenes[0]] * 4 + [scenes[1]] * 4, [scenes[1]] * 4))
    ]
    text = script("scenes.vpy", films[0])
    bare = "".join(line for line in text.splitlines(keepends=True) if "scd.Detect" not in line)
    whole, own, second = (
        lumas(vspipe(each, "-c", "y4m", "-a", f"source={film}").stdout)
        for each, film in ((text, films[0]), (bare, films[0]), (bare, films[1]))
    )
    assert np.array_equal(whole[4], second[0])
    assert not np.array_equal(own[4], second[0])


def test_grain_is_light_and_the_same_each_time(vspipe: Vspipe, film: Path) -> None:
    text = script("grain.vpy", film)
    bare = text.replace("STRENGTH = 1.5", "STRENGTH = 0")
    assert bare != text
    grained, restored = (vspipe(each, "-c", "y4m", "-a", f"source={film}").stdout for each in (text, bare))
    grains = [one - other for one, other in zip(lumas(grained, bits=10), lumas(restored, bits=10), strict=True)]
    inside = [grain[(other > 64) & (other < 940)] for grain, other in zip(grains, lumas(restored, bits=10), strict=True)]
    assert all(abs(np.std(grain) - 6) < 0.1 for grain in inside)
    assert all(abs(np.mean(grain)) < 0.1 for grain in inside)
    assert not np.array_equal(grains[0], grains[1])
    alone = vspipe(text, "-c", "y4m", "-a", f"source={film}", "-s", "2", "-e", "2").stdout
    assert np.array_equal(lumas(alone, bits=10)[0], lumas(grained, bits=10)[2])


@pytest.mark.parametrize(
    ("size", "settings", "matrix", "full", "aspect"),
    [
        ((64, 48), {}, ("smpte170m", 6), False, "1:1"),
        ((64, 578), {}, ("bt709", 1), False, "1:1"),
        ((64, 48), {"colorspace": 1, "color_range": 2}, ("bt709", 1), True, "1:1"),
        (
            (64, 578),
            {"colorspace": 5, "color_range": 1, "sample_aspect_ratio": Fraction(32, 27)},
            ("bt470bg", 5),
            False,
            "32:27",
        ),
    ],
    ids=["SD", "HD", "tagged", "anamorphic"],
)
def test_restore_tells_what_the_encoders_must_be_told(
    vspipe: Vspipe, tmp_path: Path, size: tuple[int, int], settings: Any, matrix: tuple[str, int], full: bool, aspect: str
) -> None:
    film = write_film(tmp_path / "in.mkv", noise(4, *size), **settings)
    result = vspipe(script("restore.vpy", film), "--info", "-a", f"source={film}")
    assert result.returncode == 0, result.stderr.decode()
    lines = result.stderr.decode().splitlines()
    (name, number), levels = matrix, "pc" if full else "tv"
    assert f"x264:     --colormatrix {name} --range {levels} --sar {aspect}" in lines
    assert f"x265:     --colormatrix {name} --range {'full' if full else 'limited'} --sar {aspect}" in lines
    assert f"SVT-AV1:  --matrix-coefficients {number} --color-range {int(full)}" in lines
    assert f"mkvmerge: --aspect-ratio-factor 0:{aspect.replace(':', '/')}" in lines
    assert f"ffmpeg:   -colorspace {name} -color_range {levels} -vf setsar={aspect.replace(':', '/')}" in lines


def test_x264_is_told_of_more_than_8_bits(vspipe: Vspipe, tmp_path: Path) -> None:
    film = write_film(tmp_path / "in.mkv", noise(), pix_fmt="yuv420p10le")
    lines = vspipe(script("restore.vpy", film), "--info", "-a", f"source={film}").stderr.decode().splitlines()
    assert "x264:     --colormatrix smpte170m --range tv --sar 1:1 --output-depth 10" in lines
