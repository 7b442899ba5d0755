"""Colours of decoded video, by the tagged matrix or the number of lines, and upright pictures."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from videos import write_rgb

from vsedvr.data.color import untagged_matrix
from vsedvr.data.video import read_video

# 8-bit limited-range (Y, U, V) of pure red by the matrices' definitions: ITU-R BT.601, BT.709 and BT.2020
RED = {"bt601": (81, 90, 240), "bt709": (63, 102, 240), "bt2020": (74, 97, 240)}


def write_yuv(path: Path, frames: list[NDArray[np.uint8]], colorspace: int = 2, codec: str = "libx264") -> Path:
    """Writes lossless YUV 4:4:4 with the matrix tagged by FFmpeg's number (1: BT.709, 6: BT.601, 2: not tagged)."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qp": "0"} if codec == "libx264" else {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[1:]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace = colorspace
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    return path


def flat(color: tuple[int, int, int], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(color, np.uint8)[:, None, None], (3, height, width)).copy()


@pytest.mark.parametrize(
    ("colorspace", "height", "color"),
    [
        (1, 48, "bt709"),
        (6, 48, "bt601"),
        (5, 48, "bt601"),
        (9, 48, "bt2020"),
        (2, 48, "bt601"),
        (2, 576, "bt601"),
        (2, 578, "bt709"),
        (2, 720, "bt709"),
        (3, 48, "bt601"),  # a reserved number, which tells nothing
    ],
)
def test_the_matrix_is_that_of_the_tag_and_by_the_lines_without_one(
    tmp_path: Path, colorspace: int, height: int, color: str
) -> None:
    codec = "ffv1" if colorspace == 3 else "libx264"
    (frame,) = read_video(write_yuv(tmp_path / "red.mkv", [flat(RED[color], height)], colorspace, codec))
    assert frame.shape == (height, 64, 3)
    np.testing.assert_allclose(frame[height // 2, 32], [255, 0, 0], atol=2)


def test_untagged_video_is_taken_as_the_example_script_takes_it() -> None:
    """examples/restore.vpy uses BT.709 (1) above 576 lines, too."""
    script = (Path(__file__).parents[2] / "examples/restore.vpy").read_text()
    assert "if clip.height > 576 else" in script
    assert [untagged_matrix(height) for height in (480, 576, 577, 720, 1080)] == [5, 5, 1, 1, 1]  # 5 and 6 are one matrix


@pytest.mark.parametrize(("colorspace", "name"), [(8, "YCgCo"), (10, "BT.2020 with constant luminance"), (14, "ICtCp")])
def test_a_matrix_that_is_not_supported_is_named(tmp_path: Path, colorspace: int, name: str) -> None:
    path = write_yuv(tmp_path / "odd.mkv", [flat((90, 128, 128))], colorspace, "ffv1")
    with pytest.raises(ValueError, match=rf"cannot read the video .*odd\.mkv: its matrix \({name}\) is not supported; convert"):
        list(read_video(path))


@pytest.mark.parametrize("pixels", ["bgr0", "gray", "yuv444p", "yuva420p", "gbrp16le", "gray16le", "yuv410p"])
def test_all_pixel_formats_become_rgb(tmp_path: Path, pixels: str) -> None:
    frame = np.full((32, 48, 3), 120, np.uint8)
    (read,) = read_video(write_rgb(tmp_path / "x.mkv", [frame], "ffv1", pixels=pixels))
    assert read.shape == (32, 48, 3)
    assert abs(read.astype(int) - 120).max() <= 2


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_phone_video_is_turned_upright(tmp_path: Path, rotation: int, flip: bool) -> None:
    """The stored picture is rotated counter-clockwise by the angle and then mirrored, as the container tells players."""
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:8, :16] = 250
    path = write_rgb(tmp_path / "phone.mp4", [stored] * 2, options={"qp": "0"}, rotation=rotation, flip=flip)
    shown = np.rot90(stored, rotation // 90)
    if flip:
        shown = shown[:, ::-1]
    for frame in read_video(path):
        assert frame.shape == shown.shape
        assert frame.flags.c_contiguous
        assert abs(frame.astype(int) - shown).max() <= 12


def test_an_angle_that_no_phone_has_is_passed_over(tmp_path: Path) -> None:
    frame = np.full((32, 48, 3), 120, np.uint8)
    (read,) = read_video(write_rgb(tmp_path / "x.mp4", [frame], rotation=30))
    assert read.shape == frame.shape
