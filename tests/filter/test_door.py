from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import TINY, random_model
from vs_clips import blank, clip_of, identity_model, pixels
from vsedvr.filter import door
from vsedvr.model import EDVR, EDVRConfig

core = vs.core


@pytest.fixture(scope="module")
def identity() -> EDVR:
    return identity_model()


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
            (lambda: blank().std.SetFrameProps(_FieldBased=2), {}, "frame 0 is interlaced"),
            (lambda: blank(format=vs.GRAY32), {}, "clip must be RGB, YUV or GRAY of 8 to 16 bit or float, got Gray32"),
            (lambda: core.std.Splice([blank(), blank(width=32)], mismatch=True), {}, "constant format and size"),
            (lambda: core.std.Splice([blank(), blank(format=vs.RGB24)], mismatch=True), {}, "constant format and size"),
            (blank, {"model": "none.pth"}, "no checkpoint at 'none.pth'; embedded models: small"),
            (blank, {"model": __file__}, "is a text file that begins with .*, not a checkpoint"),
            (blank, {"model": 3}, "a model is a path or a name, got a value of the type int"),
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

    def test_models_of_other_than_one_or_three_channels(self) -> None:
        with pytest.raises(vs.Error, match=r"^edvr: the model restores pictures of 4 channels"):
            vsedvr.edvr(blank(), model=EDVR(EDVRConfig(4, 4, 4, 3, 2, 1, 1)))

    @pytest.mark.parametrize("error", [MemoryError("out of memory, and ..."), torch.OutOfMemoryError("CUDA out of memory")])
    def test_too_little_memory_at_creation(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        monkeypatch.setattr("vsedvr.infer.build.Engine", Mock(side_effect=error))
        with pytest.raises(vs.Error, match=r"^edvr: .*out of memory"):
            vsedvr.edvr(blank(), model=random_model())

    def test_a_gpu_that_pytorch_cannot_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        message = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be ..."
        monkeypatch.setattr("vsedvr.infer.build.Engine", Mock(side_effect=RuntimeError(message)))
        with pytest.raises(vs.Error, match=r"^edvr: CUDA error: no kernel image .* on the device$") as caught:
            vsedvr.edvr(blank(), model=random_model())
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"scale": 2}, "there is no argument scale; there are clip, model, .*output_format"),
            ({"tiles": (0, 0)}, "there is no argument tiles; did you mean tile?"),
            ({"device": 0}, "there is no argument device; did you mean device_index?"),
            ({"Precision": "fp32"}, "there is no argument Precision; did you mean precision?"),
            ({"num_streams": 0}, "num_streams must be at least 1, got 0"),
            ({"num_streams": "two"}, "num_streams must be a whole number, got 'two'"),
            ({"auto_download": "perhaps"}, "auto_download must be True or False, got 'perhaps'"),
            (
                {"model": "edvr_m_x4_reds"},
                "the model edvr_m_x4_reds is not on this computer .*`vsedvr models get edvr_m_x4_reds`",
            ),
            ({"sc": "maybe"}, "sc must be True or False, got 'maybe'"),
            ({"sc": None}, "sc must be True or False, got None"),
            ({"precision": ["fp16"]}, r"precision must be one of fp32, fp16, bf16, got \['fp16'\]"),
            ({"precision": torch.float32}, "precision must be one of fp32, fp16, bf16, got torch.float32"),
            ({"padding": 3}, "padding must be one of .*got 3"),
            ({"device_index": torch.device("cpu")}, r"device_index must be a whole number, got device\(type='cpu'\)"),
            ({"device_index": "cuda"}, "device_index must be a whole number, got 'cuda'"),
            ({"device_index": -1.0}, "device_index must be a whole number, got -1.0"),
            ({"device_index": True}, "device_index must be a whole number, got True"),
            ({"device_index": -2}, "device_index"),
            ({"tile": "16"}, r"tile must be \(width, height\).*got '16'"),
            ({"tile": (16, -1)}, r"tile must be \(width, height\).*got \(16, -1\)"),
            ({"tile": (16.0, 16.0)}, r"tile must be \(width, height\).*got \(16.0, 16.0\)"),
            ({"tile": {16: 1, 32: 2}}, r"tile must be \(width, height\).*got \{16: 1, 32: 2\}"),
            ({"tile_pad": "wide"}, "tile_pad must be a whole number, got 'wide'"),
            ({"output_format": [1]}, r"output_format must be a format such as vs.RGBS, got \[1\]"),
            ({"model": b"edvr.pth"}, "no checkpoint at 'edvr.pth'"),
            ({"model": {"weight": torch.zeros(1000)}}, "a model is a path or a name, got a dict; .{,150}$"),
            ({"model": torch.nn.ReLU()}, r"a model is a path or a name, got a network \(ReLU\)"),
        ],
        ids=str,
    )
    def test_arguments_of_no_use(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(vs.Error, match=f"^edvr: {message}"):
            vsedvr.edvr(blank(), **{"model": random_model(), **arguments})


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"device_index": "-1", "num_streams": "4", "sc": "1", "tile": "(16, 24)", "tile_pad": "4"},
            {
                "device_index": np.int64(-1),
                "num_streams": np.int8(2),
                "tile": (np.int64(16), np.uint8(24)),
                "tile_pad": np.int32(4),
            },
            {"tile": [16, 24], "tile_pad": 4, "sc": np.True_, "auto_download": False},
            {"tile": "16x24", "tile_pad": 4, "sc": 1, "auto_download": "0", "output_format": np.int64(vs.RGBS)},
            {"tile": "16,24", "tile_pad": 4, "sc": "True", "output_format": core.get_video_format(vs.RGBS)},
        ],
        ids=["strings", "NumPy numbers", "a list", "an x", "a comma"],
    )
    def test_as_they_come(self, arguments: dict[str, Any]) -> None:
        model, clip = random_model(), clip_of(torch.rand(5, 3, 40, 48))
        expected = vsedvr.edvr(clip, model=model, device_index=-1, tile=(16, 24), tile_pad=4)
        assert torch.equal(pixels(vsedvr.edvr(clip, model, **arguments).get_frame(2)), pixels(expected.get_frame(2)))

    def test_sc_0_from_the_command_line_is_false(self, windows: dict[int, list[int]]) -> None:
        frames = torch.rand(8, 3, 16, 16) * 0.1
        frames[4:] += 0.8
        vsedvr.edvr(clip_of(frames), random_model(), sc="0").get_frame(3)  # type: ignore[arg-type]
        assert windows[3] == [1, 2, 3, 4, 5]

    def test_a_model_from_the_home_folder(self, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tiny_x1.parent))
        monkeypatch.setenv("USERPROFILE", str(tiny_x1.parent))
        for model in ("~/tiny_x1.pth", Path("~/tiny_x1.pth")):
            assert vsedvr.edvr(blank(), model).get_frame(0).width == 16


class TestLog:
    def test_one_line_tells_what_was_created(self, caplog: pytest.LogCaptureFixture, tiny_x1: Path) -> None:
        caplog.set_level("INFO", "vsedvr")
        vsedvr.edvr(blank(width=64, height=64), tiny_x1, device_index=-1)
        vsedvr.edvr(blank(width=64, height=64), random_model(), device_index=-1, tile=(16, 16), tile_pad=0, num_streams=3)
        assert [record.getMessage() for record in caplog.records if record.levelname == "INFO"] == [
            f"model {tiny_x1}, x1, on cpu in fp32, pictures whole",
            "num_streams is 3; one stream is used so far",
            "model (an EDVR), x1, on cpu in fp32, tiles of (16, 16), tile_pad 0",
        ]

    def test_a_cpu_without_the_compiled_kernels(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vsedvr.ops.native.LIBRARY", None)
        door._warn_of_slowness.cache_clear()
        for _ in range(2):
            vsedvr.edvr(blank(), random_model(), device_index=-1)
        messages = [record.getMessage() for record in caplog.records]
        assert sum("compiled kernels are missing" in message for message in messages) == 1, "once"


def test_precision_warns_once_on_a_cpu(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for _ in vsedvr.edvr(blank(), model=random_model(TINY), precision="bf16", device_index=-1).frames():
        pass
    messages = [record.getMessage() for record in caplog.records]
    assert [message for message in messages if "precision" in message] == [
        "precision bf16 is slower than fp32 on a processor without AMX; computing in fp32"
    ]
