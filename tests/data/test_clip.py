"""Clips from folders and files: order, colour, scenes, and files that are not what they seem."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vsedvr.data.clip import find_clips, open_clip, read_picture

# 8-bit limited-range (Y, U, V) of pure red by the matrices' definitions: ITU-R BT.601 and BT.709
RED = {"bt601": (81, 90, 240), "bt709": (63, 102, 240)}


def write_video(path: Path, frames: list[NDArray[np.uint8]], colorspace: int = 2) -> None:
    """YUV 4:4:4, lossless, with the matrix tagged by FFmpeg's number (1: BT.709, 6: BT.601, 2: not tagged)."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[1:]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace = colorspace
        for planes in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))


def flat(color: tuple[int, int, int], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(color, np.uint8)[:, None, None], (3, height, width)).copy()


@pytest.mark.parametrize(
    ("colorspace", "height", "color"),
    [(1, 48, "bt709"), (6, 48, "bt601"), (5, 48, "bt601"), (2, 48, "bt601"), (2, 720, "bt709")],
)
def test_the_matrix_is_the_one_of_the_tag_and_of_players_without_one(
    tmp_path: Path, colorspace: int, height: int, color: str
) -> None:
    write_video(tmp_path / "red.mkv", [flat(RED[color], height)], colorspace)
    frame = open_clip(tmp_path / "red.mkv", tmp_path / "cache")[0]
    assert frame.shape == (height, 64, 3)
    np.testing.assert_allclose(frame[height // 2, 32], [255, 0, 0], atol=2)


def test_a_video_is_split_at_its_cut_and_decoded_once(tmp_path: Path) -> None:
    write_video(tmp_path / "two.mkv", [flat((60 + n, 128, 128)) for n in range(5)] + [flat((180, 128, 128))] * 4)
    clip = open_clip(tmp_path / "two.mkv", tmp_path / "cache")
    assert len(clip) == 9
    assert clip.scene_starts == [0, 5]
    (decoded,) = (tmp_path / "cache").iterdir()
    decoded.joinpath("frames.rgb").write_bytes(bytes(9 * 48 * 64 * 3))
    assert open_clip(tmp_path / "two.mkv", tmp_path / "cache")[3].max() == 0
    assert len(open_clip(tmp_path / "two.mkv", tmp_path / "cache", max_frames=6)) == 6


def test_folders_are_ordered_by_number(tmp_path: Path) -> None:
    for n in (10, 9, 1):
        Image.new("RGB", (4, 2), (n, 0, 0)).save(tmp_path / f"im{n}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    clip = open_clip(tmp_path, tmp_path / "cache")
    assert [int(clip[n][0, 0, 0]) for n in range(len(clip))] == [1, 9, 10]
    assert clip.scene_starts == [0]


def test_clips_are_found_however_deep(tmp_path: Path) -> None:
    for folder in ("a/x", "a/y", "b"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 2)).save(tmp_path / folder / "0.PNG")
    (tmp_path / "a/film.MKV").touch()
    assert list(find_clips(tmp_path)) == ["a/film.MKV", "a/x", "a/y", "b"]
    assert list(find_clips(tmp_path / "b")) == ["b"]
    assert list(find_clips(tmp_path / "a/film.MKV")) == ["film.MKV"]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_other_kinds_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (5, 3), (204, 204, 204)).convert(mode).save(tmp_path / f"x.{'tif' if mode == 'CMYK' else 'png'}")
    (path,) = tmp_path.iterdir()
    frame = read_picture(path)
    assert frame.shape == (3, 5, 3)
    assert abs(frame.astype(int) - 204).max() <= 1


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures .* in .*empty"):
        open_clip(tmp_path / "empty", cache)
    with pytest.raises(ValueError, match=r"neither video files .* below .*empty"):
        find_clips(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="missing"):
        find_clips(tmp_path / "missing")
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"cannot read the video .*broken\.mp4"):
        open_clip(tmp_path / "broken.mp4", cache)
    assert list(cache.iterdir()) == []
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(ValueError, match=r"cannot read the picture .*broken\.png"):
        read_picture(tmp_path / "broken.png")
