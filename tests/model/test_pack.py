"""Networks with packed weights (EDVR.pack), as the engine runs them on a CPU."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.inputs import moving_texture
from conftest import random_model
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.model.blocks import Conv3x3, DCNPack
from vsedvr.ops import native, upsample
from vsedvr.weights import EMBEDDED, load_model

needs_kernel = pytest.mark.skipif(not native.is_available(), reason="built without a compiler")


def random_edvr(pixels: float, lq: Tensor) -> EDVR:
    """Makes an EDVR-M with stable features, random offsets of this standard deviation in pixels, and a residual of 0.2."""
    model = EDVR().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4 and "conv2" not in name:
            nn.init.kaiming_normal_(parameter, a=0.1)
    model.conv_last.register_forward_hook(scale_once(0.2))
    for module in model.modules():
        if isinstance(module, DCNPack):
            module.conv_offset.register_forward_hook(scale_once(pixels))
    with torch.no_grad():
        model(lq)
    return model


def scale_once(std: float) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
    """Returns a hook that, at the first call, scales a layer so that the first two thirds of its output have this deviation."""
    done: list[int] = []

    def scale(layer: nn.Module, args: object, out: Tensor) -> Tensor | None:
        if done:
            return None
        done.append(1)
        factor = std / out[:, : out.shape[1] * 2 // 3].std()
        for parameter in layer.parameters():
            parameter.mul_(factor)
        return out * factor

    return scale


def in_float64(model: EDVR, lq: Tensor) -> Tensor:
    """Runs a network in float64, with PyTorch's and torchvision's operators only, because ours do not have float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double()(lq.double())


def packed(model: EDVR) -> EDVR:
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    model.pack()
    return model


@needs_kernel
@pytest.mark.parametrize("pixels", [2, 8])
def test_edvr_m_stays_within_rounding_of_float64(pixels: float) -> None:
    lq = moving_texture(5, 20, 36)[None]
    model = random_edvr(pixels, lq)
    expected = in_float64(model, lq)
    assert (expected - upsample(lq[:, 2], 4)).std() > 0.1, "the residual is not small"
    with torch.inference_mode():
        assert (packed(model)(lq) - expected).abs().max() < 1e-5


@needs_kernel
@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_stay_within_rounding_of_float64(name: str) -> None:
    model = load_model(name).eval()
    size = 2 * model.config.size_multiple
    lq = torch.rand(1, model.config.num_frame, 3, size, 3 * size)
    with torch.inference_mode():
        assert (packed(model)(lq) - in_float64(model, lq)).abs().max() < 1e-5


@needs_kernel
@pytest.mark.parametrize(
    ("name", "height", "width"), [("edvr_m", 20, 36), ("small", 52, 92), ("deblur", 80, 112), ("compression", 48, 64)]
)
def test_no_bit_depends_on_the_number_of_threads(name: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of `vsedvr restore --jobs` have fewer threads than a single process, but must make the same frames."""
    lq = moving_texture(5, height, width)[None]
    model = random_edvr(8, lq) if name == "edvr_m" else load_model(name).eval()
    lq, model = lq[:, : model.config.num_frame], packed(model)
    monkeypatch.setattr(native, "usable_cores", lambda: 3)
    before, outputs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                outputs.append(model(lq))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@needs_kernel
def test_gradients_and_other_types_do_without_packed_weights() -> None:
    config = EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16)
    plain, lq = random_model(config), torch.rand(1, 3, 3, 8, 12)
    model = packed(plain)
    out = model(lq)
    assert torch.equal(out, plain.to(memory_format=torch.channels_last)(lq))
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    exact = copy.deepcopy(plain).double()
    exact.pack()
    with torch.no_grad():
        assert torch.equal(exact(lq.double()), copy.deepcopy(plain).double()(lq.double()))


@needs_kernel
def test_packing_leaves_the_state_dict_alone() -> None:
    model = random_model(EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.pack()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@needs_kernel
@pytest.mark.parametrize("num_feat", [20, 24, 40])
def test_networks_of_any_width(num_feat: int) -> None:
    model = random_model(EDVRConfig(3, 3, num_feat, 3, 4, 1, 1, scale=1, with_predeblur=True, num_tail_feat=num_feat - 1))
    lq = torch.rand(2, 3, 3, 16, 32)
    with torch.inference_mode():
        assert (packed(model)(lq) - in_float64(model, lq)).abs().max() < 1e-5


def test_without_the_kernels_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "is_available", lambda: False)
    model, lq = random_model(EDVRConfig(3, 3, 16, 3, 2, 1, 1, num_tail_feat=16)), torch.rand(1, 3, 3, 8, 12)
    with torch.inference_mode():
        expected = model(lq)
        model.pack()
        assert (model(lq) - expected).abs().max() < 1e-6
    assert all(module.packed is None for module in model.modules() if isinstance(module, Conv3x3))
