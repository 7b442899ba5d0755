import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conftest import TINY, random_model
from oracle import array, meta, weights
from vsedvr.infer import clip_windows
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.weights import load_model

NETWORKS = [
    "sr_tsa",
    "sr_wotsa_params_pth",
    "srblur_predeblur_module_pth",
    "deblur_hrin",
    "sr_7frames",
    "sr_3frames_center0",
    "sr_smallest_4x4",
    "formats",
]


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("packed", [False, True])
def test_equals_the_reference_network(case: str, packed: bool) -> None:
    arch = meta(case)["arch"]
    model = load_model(weights(case), center_frame_idx=arch["center_frame_idx"])
    assert model.config == EDVRConfig(**arch)
    if packed:
        model.pack()
    with torch.inference_mode():
        assert (model(array(case, "input")) - array(case, "output")).abs().max() < 1e-5


@pytest.mark.parametrize("case", ["two_stage_deblur", "two_stage_sr"])
@pytest.mark.parametrize(
    ("stage", "source", "expected"),
    [("stage1", "input_seq", "stage1"), ("stage2", "stage1", "stage2_from_float"), ("stage2", "uint8", "stage2_from_uint8")],
)
def test_equals_the_reference_on_two_stage_sequences(case: str, stage: str, source: str, expected: str) -> None:
    model = load_model(weights(case, stage))
    clip = array(case, "stage1").clamp(0, 1).mul(255).round().div(255) if source == "uint8" else array(case, source)
    padding = "replicate" if case == "two_stage_deblur" else "reflection_circle"
    for n, frame in enumerate(array(case, expected)):
        indices = clip_windows(model.config, len(clip), padding).indices(n)
        with torch.inference_mode():
            # 1e-5 is out of reach here: the reference's own rounding, against float64, is 2.7e-5
            assert (model(clip[indices][None])[0] - frame).abs().max() < 5e-5


@pytest.mark.parametrize(
    ("config", "num_parameters"),
    [
        (EDVRConfig(), 3_300_131),
        (EDVRConfig(with_tsa=False), 2_996_259),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40), 20_633_827),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, num_frame=7), 20_699_363),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, with_predeblur=True), 23_306_851),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, with_predeblur=True, scale=1), 23_602_019),
        (EDVRConfig(num_feat=128, num_reconstruct_block=20, scale=1), 15_025_635),
    ],
)
def test_published_architectures_have_the_published_size(config: EDVRConfig, num_parameters: int) -> None:
    assert sum(parameter.numel() for parameter in EDVR(config, device="meta").parameters()) == num_parameters


@pytest.mark.parametrize(
    "config",
    [
        EDVRConfig(3, 3, 6, 9, 3, 0, 0, 7, num_tail_feat=5),
        EDVRConfig(3, 3, 5, 3, 1, 2, 3, with_tsa=False, scale=1, num_tail_feat=12),
        EDVRConfig(1, 1, 4, 5, 2, 1, 1, with_predeblur=True, num_tail_feat=4),
    ],
)
def test_forward_is_the_four_methods_in_order(config: EDVRConfig) -> None:
    model = random_model(config)
    lq = torch.rand(2, config.num_frame, config.num_in_ch, 16, 32)
    frames = [model.extract(lq[:, i]) for i in range(config.num_frame)]
    aligned = [model.align(frame, frames[config.center]) for frame in frames]
    out = model.reconstruct(model.fuse(aligned), lq[:, config.center])
    assert out.shape == (2, config.num_out_ch, 16 * config.scale, 32 * config.scale)
    assert torch.equal(model(lq), out)


def test_output_is_not_clamped_and_adds_to_the_centre_frame() -> None:
    model = random_model()
    nn.init.zeros_(model.conv_last.weight)
    nn.init.constant_(model.conv_last.bias, 2.0)  # type: ignore[arg-type]
    lq = torch.rand(1, 5, 3, 16, 16)
    assert (model(lq) - lq[:, 2] - 2).abs().max() < 1e-6


def test_reconstruction_can_be_another_module() -> None:
    class Gain(nn.Module):
        def forward(self, feat: Tensor) -> Tensor:
            return feat * 0

    model = random_model()
    model.reconstruction = Gain()
    lq = torch.rand(1, 5, 3, 16, 16)
    other = torch.rand(1, 5, 3, 16, 16)
    other[:, 2] = lq[:, 2]
    assert torch.equal(model(lq), model(other)), "only the centre frame is left once the features are zero"


def test_every_parameter_learns() -> None:
    model = random_model(EDVRConfig(3, 3, 8, 3, 2, 1, 1, scale=1, with_predeblur=True, num_tail_feat=8)).train()
    model(torch.rand(1, 3, 3, 32, 32)).square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not without


def test_offsets_are_never_predicted_in_bfloat16() -> None:
    seen = []
    model = random_model()
    model.pcd_align.cas_dcnpack.conv_offset.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.rand(1, 5, 3, 16, 16))
    assert set(seen) == {torch.float32}


def test_fresh_alignment_is_a_convolution_at_half_strength() -> None:
    pack = EDVR(TINY).pcd_align.cas_dcnpack
    feat = torch.rand(1, 8, 6, 6)
    expected = nn.functional.conv2d(feat, pack.weight / 2, pack.bias, padding=1)
    assert (pack(feat, torch.rand(1, 8, 6, 6)) - nn.functional.leaky_relu(expected, 0.1)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 3, 16, 20), r"multiples of 16, got \(1, 5, 3, 16, 20\)"),
        ((1, 3, 3, 16, 16), r"shape \(b, 5, 3, h, w\), got \(1, 3, 3, 16, 16\)"),
        ((5, 3, 16, 16), r"shape \(b, 5, 3, h, w\)"),
    ],
)
def test_wrong_input_shapes(tiny_model: EDVR, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_model(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frame": 4}, "num_frame must be odd and at least 3, got 4"),
        ({"num_frame": 1}, "got 1"),
        ({"center_frame_idx": 5}, r"within 0\.\.4, got 5"),
        ({"num_feat": 12}, "num_feat 12 is not a multiple of deformable_groups 8"),
        ({"scale": 3}, "scale must be 1, 2 or 4, got 3"),
        ({"num_feat": 0}, "num_feat must be at least 1, got 0"),
        ({"num_extract_block": -1}, "num_extract_block must not be negative"),
        ({"num_out_ch": 1}, "num_in_ch 3 and num_out_ch 1 differ"),
    ],
)
def test_configurations_that_make_no_network(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EDVRConfig(**arguments)  # type: ignore[arg-type]


def test_x2_enlarges_once_and_adds_to_the_bilinear_centre_frame() -> None:
    model = random_model(EDVRConfig(3, 3, 16, 3, 2, 1, 0, scale=2, num_tail_feat=12))
    feat, center = torch.randn(2, 16, 8, 12), torch.rand(2, 3, 8, 12)

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, model.get_parameter(f"{name}.weight"), model.get_parameter(f"{name}.bias"), padding=1)

    expected = F.leaky_relu(F.pixel_shuffle(conv(feat, "upconv1"), 2), 0.1)
    expected = conv(F.leaky_relu(conv(expected, "conv_hr"), 0.1), "conv_last")
    expected += F.interpolate(center, scale_factor=2, mode="bilinear")
    assert (model.reconstruct(feat, center) - expected).abs().max() < 1e-5
    assert model(torch.rand(1, 3, 3, 8, 12)).shape == (1, 3, 16, 24)


@pytest.mark.parametrize("height", [1, 23, 24, 25, 49])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_enlarging_in_strips_changes_nothing(height: int, scale: int) -> None:
    model = random_model(EDVRConfig(3, 3, 16, 3, 2, 1, 1, scale=scale, num_tail_feat=16))
    feat, stride = torch.randn(2, 16, height, 9), model.config.stride
    center = torch.rand(2, 3, stride * height, stride * 9)
    whole = model.reconstruct(feat, center)
    for rows in (1, 24, 100):
        assert (model.reconstruct(feat, center, rows) - whole).abs().max() < 1e-5
    model.pack()
    with torch.no_grad():
        for number in (None, 1, 24, 100):
            assert (model.reconstruct(feat, center, number) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("num_feat", [8, 16])  # without and with the compiled 3x3 convolution
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_exports_for_every_size_in_each_gradient_mode(grad: bool, scale: int, num_feat: int) -> None:
    model = random_model(EDVRConfig(3, 3, num_feat, 3, 2, 1, 1, scale=scale, num_tail_feat=num_feat))
    multiple = model.config.size_multiple
    height, width = (torch.export.Dim(name, min=2, max=64) for name in ("height", "width"))
    example = torch.rand(1, 3, 3, 4 * multiple, 5 * multiple)
    with torch.set_grad_enabled(grad):
        program = torch.export.export(model, (example,), dynamic_shapes=({3: multiple * height, 4: multiple * width},))
    for size in ((2, 3), (9, 4)):
        lq = torch.rand(1, 3, 3, *(multiple * side for side in size))
        with torch.no_grad():
            assert (program.module()(lq) - model(lq)).abs().max() < 1e-5
