"""Pictures with every kind of samples, compared with arrays that were written by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vsedvr.data.picture import picture_size, read_picture

RAMP = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
"""A ramp (4, 256) in 16 bits, which is 0 to 255 in 8 bits."""

EIGHT = (RAMP >> 8).astype(np.uint8)


def grey_of(path: Path) -> np.ndarray:
    frame = read_picture(path)
    assert frame.dtype == np.uint8
    assert (frame[..., 0] == frame[..., 1]).all()
    assert (frame[..., 0] == frame[..., 2]).all()
    assert picture_size(path) == frame.shape[:2]
    return frame[..., 0]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "YCbCr", "1"])
def test_pictures_of_8_bits_become_rgb(tmp_path: Path, mode: str) -> None:
    value = 255 if mode == "1" else 204
    path = tmp_path / f"x.{'tif' if mode in ('CMYK', 'YCbCr') else 'png'}"
    Image.new("RGB", (5, 3), (value, value, value)).convert(mode).save(path)
    frame = read_picture(path)
    assert frame.shape == (3, 5, 3)
    assert abs(frame.astype(int) - value).max() <= 1


def test_the_colours_under_transparency_count(tmp_path: Path) -> None:
    pixels = np.dstack([np.full((2, 3, 3), (10, 200, 30), np.uint8), np.zeros((2, 3), np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert (read_picture(tmp_path / "x.png") == [10, 200, 30]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(grey_of(tmp_path / f"x.{suffix}"), np.rint(RAMP / 257))


def test_16_bit_grey_of_the_other_byte_order_is_scaled(tmp_path: Path) -> None:
    picture = Image.frombytes("I;16B", (256, 4), RAMP.astype(">u2").tobytes())
    picture.save(tmp_path / "x.tif")
    np.testing.assert_array_equal(grey_of(tmp_path / "x.tif"), np.rint(RAMP / 257))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_is_scaled(tmp_path: Path, suffix: str) -> None:
    rgb = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 30000)], 2)
    cv2.imwrite(str(tmp_path / f"x.{suffix}"), rgb[..., ::-1])
    assert abs(read_picture(tmp_path / f"x.{suffix}") - rgb / 257).max() <= 1


@pytest.mark.parametrize(("white", "dtype"), [(1, np.float32), (255, np.float32), (65535, np.float32), (255, np.int32)])
def test_float_and_32_bit_pictures_are_read_by_their_scale(tmp_path: Path, white: int, dtype: type) -> None:
    Image.fromarray((EIGHT / 255 * white).astype(dtype)).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(grey_of(tmp_path / "x.tif"), EIGHT)


def test_32_bit_pictures_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(grey_of(tmp_path / "x.tif"), np.rint(RAMP / 257))


def test_float_beyond_white_is_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-0.2, 0, 0.5, 1, 1.3]], np.float32)).save(tmp_path / "x.tif")
    assert grey_of(tmp_path / "x.tif").tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize(("value", "reason"), [(8.0, "its largest value is 8"), (np.nan, "not finite"), (1e6, "1e\\+06")])
def test_float_on_no_scale_is_refused_by_name(tmp_path: Path, value: float, reason: str) -> None:
    Image.fromarray(np.array([[0, value]], np.float32)).save(tmp_path / "hdr.tif")
    with pytest.raises(ValueError, match=rf"cannot read the picture .*hdr\.tif: .*{reason}"):
        read_picture(tmp_path / "hdr.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """EXIF defines an orientation by the sides of the picture at which the stored rows and columns begin."""
    shown = np.zeros((24, 40, 3), np.uint8)
    shown[:8, :12] = 250
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: shown.transpose(1, 0, 2)[::-1],
        7: shown.transpose(1, 0, 2)[::-1, ::-1],
        8: shown.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png"), shown)
    assert picture_size(tmp_path / "x.png") == (24, 40)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_several_pictures_in_a_file_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGB", (20, 10), (n * 40, 0, 0)) for n in range(3)]
    pages[0].save(tmp_path / f"many.{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=rf"cannot read the picture .*many\.{suffix}: it holds 3 pictures"):
        read_picture(tmp_path / f"many.{suffix}")


def test_a_preview_in_the_file_does_not_count(tmp_path: Path) -> None:
    """Phones add a preview to their JPEG files (MPO)."""
    Image.new("RGB", (40, 20), (90, 90, 90)).save(
        tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (20, 10))]
    )
    assert abs(read_picture(tmp_path / "x.jpg").astype(int) - 90).max() <= 2


def test_large_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above its limit of pixels, and raises an error above twice the limit."""
    Image.new("L", (20, 10)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    assert read_picture(tmp_path / "large.png").shape == (10, 20, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    for read in (read_picture, picture_size):
        with pytest.raises(ValueError, match=r"cannot read the picture .*large\.png: it has too many pixels"):
            read(tmp_path / "large.png")


def test_damaged_files_are_named_whatever_the_library_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    path = tmp_path / "broken.png"
    rng = np.random.default_rng(0)
    for content in (b"", b"GIF89a", whole[:8], whole[:60], whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n and then nothing"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot read the picture .*broken\.png: ."):
            read_picture(path)
    for _ in range(60):  # reading must give a picture or a ValueError, and no other error
        changed = bytearray(whole)
        changed[int(rng.integers(8, 60))] = int(rng.integers(256))
        path.write_bytes(changed)
        try:
            read_picture(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
    with pytest.raises(ValueError, match=r"missing\.png: No such file"):
        read_picture(tmp_path / "missing.png")
    monkeypatch.setattr(Image, "open", lambda path: 1 / 0)
    with pytest.raises(ValueError, match=r"broken\.png: division by zero"):
        read_picture(path)
