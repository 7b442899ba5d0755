from typing import Any

import numpy as np
import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import TINY, random_model
from vs_clips import blank, clip_of, identity_model, luma_of, pixels
from vsedvr.infer import Engine
from vsedvr.model import EDVR, EDVRConfig

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
X2 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, scale=2, num_tail_feat=8)
LUMA_X1 = EDVRConfig(1, 1, 8, 5, 2, 1, 1, scale=1, num_tail_feat=8)
LUMA_X4 = EDVRConfig(1, 1, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.fixture(scope="module")
def identity() -> EDVR:
    return identity_model()


RGB = (vs.RGB24, vs.RGB30, vs.RGB48, vs.RGBH, vs.RGBS)
YUV = (vs.YUV420P8, vs.YUV420P10, vs.YUV420P16, vs.YUV422P8, vs.YUV422P12, vs.YUV444P8, vs.YUV444P16, vs.YUV444PH, vs.YUV444PS)
GRAY = (vs.GRAY8, vs.GRAY10, vs.GRAY16, vs.GRAYH, vs.GRAYS)


class TestFormats:
    @pytest.mark.parametrize("format", [*RGB, *YUV, *GRAY], ids=lambda format: format.name)
    @pytest.mark.parametrize("full", [0, 1])
    def test_the_same_format_back_and_the_picture_unchanged(self, identity: EDVR, format: Any, full: int) -> None:
        smooth = torch.linspace(0.2, 0.8, 32)[:, None] * torch.linspace(0.5, 1, 48)
        picture = torch.stack([smooth, smooth.flip(1), smooth.flip(0)]).expand(3, -1, -1, -1)
        colour = {} if format in RGB else {"matrix": 6} if format in YUV else {"matrix": 1}
        clip = clip_of(picture).resize.Bicubic(format=format, range=None if format in RGB else full, **colour)
        restored = vsedvr.edvr(clip, model=identity)
        assert restored.format.id == format
        info = restored.format
        unit = 1 if info.sample_type == vs.INTEGER else 2.0 ** (-11 if info.bits_per_sample == 16 else -20)
        for plane in range(info.num_planes):
            a, b = (np.asarray(c.get_frame(1)[plane]).astype(np.float64) for c in (clip, restored))
            if plane and info.subsampling_w:  # chroma was resized to full size and back
                unit = 2 ** (info.bits_per_sample - 8)
            assert np.abs(a - b).max() <= unit

    @pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
    @pytest.mark.parametrize("full", [0, 1])
    def test_colours_by_the_published_formulas(self, identity: EDVR, matrix: int, kr: float, kb: float, full: int) -> None:
        """Computes Y and chroma from R, G, B by Kr and Kb, in limited (16..235, 16..240) or full range: ITU-T H.273, 8.3."""
        rgb = torch.tensor([0.8, 0.3, 0.5])
        y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
        cb, cr = (rgb[2] - y) / (2 - 2 * kb), (rgb[0] - y) / (2 - 2 * kr)
        coded = torch.stack([y * 65535, cb * 65535 + 32768, cr * 65535 + 32768])
        if not full:
            coded = torch.stack([y * 219 + 16, cb * 224 + 128, cr * 224 + 128]) * 256
        frames = coded.round().view(1, 3, 1, 1).expand(5, 3, 16, 16)
        clip = clip_of(frames, vs.YUV444P16, _Matrix=matrix, _Range=full)
        as_rgb = vsedvr.edvr(clip, model=identity, output_format=vs.RGBS).get_frame(2)
        assert (pixels(as_rgb)[:, 3, 3] - rgb).abs().max() < 1e-4
        assert as_rgb.props["_Matrix"] == 0
        back = vsedvr.edvr(clip, model=identity).get_frame(2)
        assert (pixels(back) - frames[2]).abs().max() <= 1
        assert (back.props["_Matrix"], back.props["_Range"]) == (matrix, full)

    def test_gray_is_restored_as_gray(self) -> None:
        model, gray = random_model(), torch.rand(5, 1, 16, 16)
        restored = pixels(vsedvr.edvr(clip_of(gray, vs.GRAYS), model=model).get_frame(2))
        rgb = pixels(vsedvr.edvr(clip_of(gray.expand(-1, 3, -1, -1)), model=model).get_frame(2))
        assert (restored[0] - rgb.mean(0)).abs().max() < 1e-6

    @pytest.mark.parametrize("source", [vs.RGB24, vs.YUV420P8, vs.GRAY8, vs.RGBS], ids=lambda format: format.name)
    @pytest.mark.parametrize(
        "output", [vs.RGBS, vs.RGB24, vs.YUV420P10, vs.YUV444PS, vs.GRAY16], ids=lambda format: format.name
    )
    def test_output_format(self, identity: EDVR, source: Any, output: Any) -> None:
        """A gray picture has the same appearance in every format."""
        color = {vs.RGB24: [128] * 3, vs.RGBS: [128 / 255] * 3, vs.YUV420P8: [126, 128, 128], vs.GRAY8: [126]}[source]
        clip = core.std.BlankClip(format=source, width=32, height=32, length=3, color=color)
        restored = vsedvr.edvr(
            clip.std.SetFrameProps(_Matrix=0 if "RGB" in source.name else 6), model=identity, output_format=output
        )
        assert restored.format.id == output
        expected = {vs.RGBS: 0.502, vs.RGB24: 128, vs.YUV420P10: 504, vs.YUV444PS: 0.502, vs.GRAY16: 126 * 256}[output]
        assert luma_of(restored.get_frame(1)).mean().item() == pytest.approx(expected, rel=0.005)

    @pytest.mark.parametrize(
        "format", [vs.RGB24, vs.YUV444P8, vs.YUV422P8, vs.YUV420P8, vs.GRAY8], ids=lambda format: format.name
    )
    @pytest.mark.parametrize(("width", "height"), [(2, 2), (38, 22), (35, 22), (35, 21), (1, 1)])
    def test_odd_sizes_where_the_format_allows_them(self, format: Any, width: int, height: int) -> None:
        info = core.get_video_format(format)
        if width % (1 << info.subsampling_w) or height % (1 << info.subsampling_h):
            return
        clip = core.std.BlankClip(format=format, width=width, height=height, length=2).std.SetFrameProps(
            _Matrix=0 if format == vs.RGB24 else 1
        )
        frame = vsedvr.edvr(clip).get_frame(1)
        assert (frame.width, frame.height) == (4 * width, 4 * height)


def flat(color: list[float], format: vs.PresetVideoFormat, **props: int) -> vs.VideoNode:
    return core.std.BlankClip(format=format, width=32, height=32, length=3, color=color).std.SetFrameProps(**props)


class TestColoursOutsideOfRGB:
    LEGAL = ((250, 128, 128), (60, 200, 60), (1, 128, 128), (16, 240, 16), (235, 16, 240), (254, 1, 254))

    @pytest.mark.parametrize("config", [TINY, X2, X4], ids=["x1", "x2", "x4"])
    @pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV444P8], ids=lambda format: format.name)
    @pytest.mark.parametrize("color", LEGAL, ids=str)
    def test_legal_yuv_comes_back(self, config: EDVRConfig, format: Any, color: tuple[int, int, int]) -> None:
        for matrix in (1, 6, 9):
            frame = vsedvr.edvr(flat(list(color), format, _Matrix=matrix), identity_model(config)).get_frame(1)
            for plane in range(3):
                assert np.abs(np.asarray(frame[plane]).astype(int) - color[plane]).max() <= 1, (matrix, plane)

    def test_of_a_picture_is_added_to_what_the_network_makes_of_the_rest(self) -> None:
        model, wild = random_model(), torch.rand(5, 3, 16, 16) * 3 - 1
        restored = vsedvr.edvr(clip_of(wild), model=model, sc=False).get_frame(2)
        inside = Engine(model).restore(range(5), wild.clamp(0, 1).__getitem__)
        assert (pixels(restored) - (inside + wild[2] - wild[2].clamp(0, 1)).double()).abs().max() < 1e-6

    def test_are_enlarged_with_it(self) -> None:
        """A bright spot stays where it is, and nothing else changes."""
        model, frames = identity_model(X4), torch.full((3, 3, 24, 24), 0.9)
        frames[1, :, 8, 16] = 1.5
        restored = pixels(vsedvr.edvr(clip_of(frames), model=model).get_frame(1))
        tame = pixels(vsedvr.edvr(clip_of(frames.clamp(0, 1)), model=model).get_frame(1))
        spot = restored - tame
        assert spot[:, 33:35, 65:67].min() > 0.3
        spot[:, 24:44, 56:76] = 0
        assert not spot.any()

    def test_infinite_samples_count_as_black_and_white(self) -> None:
        frames = torch.full((3, 3, 16, 16), 0.5)
        frames[1, :, 3, 3], frames[1, :, 9, 9] = torch.inf, -torch.inf
        restored = pixels(vsedvr.edvr(clip_of(frames), model=identity_model()).get_frame(1))
        assert (restored - frames[1].clamp(0, 1)).abs().max() < 1e-6

    @pytest.mark.parametrize("format", [vs.GRAYS, vs.YUV444PS], ids=lambda format: format.name)
    def test_of_float_clips_come_back(self, identity: EDVR, format: Any) -> None:
        color = [1.4] if format == vs.GRAYS else [1.4, 0.0, 0.0]
        restored = vsedvr.edvr(flat(color, format, _Matrix=1), model=identity).get_frame(1)
        assert luma_of(restored).mean().item() == pytest.approx(1.4, abs=1e-5)


class TestLumaModels:
    """Networks with one channel."""

    def test_restore_gray_directly(self) -> None:
        model, gray = random_model(LUMA_X4), torch.rand(5, 1, 16, 18)
        restored = vsedvr.edvr(clip_of(gray, vs.GRAYS), model, sc=False).get_frame(2)
        assert torch.equal(pixels(restored), Engine(model).restore(range(5), gray.__getitem__).double())

    @pytest.mark.parametrize(
        "format", [vs.YUV420P8, vs.YUV420P10, vs.YUV422P8, vs.YUV444P16, vs.YUV444PS], ids=lambda format: format.name
    )
    @pytest.mark.parametrize("full", [0, 1])
    @pytest.mark.parametrize("tags", [{}, {"_Matrix": 10}, {"_Matrix": 1}], ids=str)
    def test_of_one_size_pass_chroma_on_bit_for_bit(self, format: Any, full: int, tags: dict[str, int]) -> None:
        """Networks with one channel need no matrix."""
        clip = clip_of(torch.rand(5, 3, 32, 32)).resize.Bicubic(format=format, matrix=1, range=full)
        clip = clip.std.SetFrameProps(_Matrix=[]).std.RemoveFrameProps("_Matrix").std.SetFrameProps(**tags)
        identical, changed = (vsedvr.edvr(clip, model) for model in (identity_model(LUMA_X1), random_model(LUMA_X1)))
        frame, luma, other = clip.get_frame(2), identical.get_frame(2), changed.get_frame(2)
        for plane in (1, 2):
            assert np.array_equal(np.asarray(other[plane]), np.asarray(frame[plane]))
        unit = 1 if frame.format.sample_type == vs.INTEGER else 1e-6
        assert (luma_of(luma) - luma_of(frame)).abs().max() <= unit
        assert not torch.equal(luma_of(other), luma_of(frame))
        assert dict(other.props).get("_Matrix") == tags.get("_Matrix")

    @pytest.mark.parametrize("location", range(6))
    def test_enlarge_chroma_where_it_lies(self, location: int) -> None:
        """A ramp of chroma keeps its place, whatever the location of chroma samples."""
        x = torch.linspace(0.2, 0.7, 32).expand(5, 3, 32, 32).clone()
        x[:, 1] = 0.4
        clip = clip_of(x).resize.Bicubic(format=vs.YUV420P16, matrix=1, chromaloc=location)
        restored = vsedvr.edvr(clip, identity_model(LUMA_X4))
        assert restored.get_frame(2).props["_ChromaLocation"] == location
        expected = clip.resize.Bilinear(128, 128, format=vs.YUV444PS)
        a, b = (pixels(c.resize.Bilinear(format=vs.YUV444PS).get_frame(2))[1:, 20:-20, 20:-20] for c in (restored, expected))
        assert (a - b).abs().max() < 0.001

    @pytest.mark.parametrize(
        "output", [vs.YUV420P16, vs.YUV444P8, vs.RGBS, vs.RGB24, vs.GRAY8, vs.GRAYS], ids=lambda format: format.name
    )
    @pytest.mark.parametrize("config", [LUMA_X1, LUMA_X4], ids=["x1", "x4"])
    def test_give_every_format(self, output: Any, config: EDVRConfig) -> None:
        clip = flat([120, 90, 160], vs.YUV420P8, _Matrix=6)
        restored = vsedvr.edvr(clip, identity_model(config), output_format=output).get_frame(1)
        expected = clip.resize.Bicubic(format=output, matrix=None if "RGB" in output.name else 6).get_frame(1)
        unit = 1.0 if expected.format.sample_type == vs.INTEGER else 1 / 255
        for plane in range(expected.format.num_planes):
            a, b = (np.asarray(frame[plane]).astype(float).mean() for frame in (restored, expected))
            assert abs(a - b) <= unit

    def test_give_yuv_and_rgb_of_gray(self) -> None:
        clip = flat([120], vs.GRAY8)
        yuv = vsedvr.edvr(clip, identity_model(LUMA_X1), output_format=vs.YUV420P8).get_frame(1)
        assert [np.asarray(yuv[plane]).mean() for plane in range(3)] == [120, 128, 128]

    def test_need_a_matrix_where_the_result_is_rgb(self) -> None:
        with pytest.raises(vs.Error, match=r"^edvr: clip is YUV and its matrix is not known"):
            vsedvr.edvr(blank(format=vs.YUV420P8), identity_model(LUMA_X1), output_format=vs.RGBS)

    def test_cannot_restore_rgb(self) -> None:
        with pytest.raises(
            vs.Error, match=r"^edvr: the model restores .* 1 channel.*RGB.*resize\.Bicubic\(format=vs\.YUV444PS"
        ):
            vsedvr.edvr(blank(), identity_model(LUMA_X1))
