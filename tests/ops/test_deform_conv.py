import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d as torchvision_form

from oracle import DATA
from vsedvr.ops import deform_conv2d

ORACLE = np.load(DATA / "op_deform_conv.npz")
CASES = json.loads(str(ORACLE["meta"]))


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{k}-{case['offsets']}" for k, case in enumerate(CASES)])
def test_values_and_gradients_equal_the_oracle(case: int) -> None:
    meta = CASES[case]
    arrays = {key.split("/")[1]: ORACLE[key] for key in ORACLE if key.startswith(f"{case:02d}/")}
    inputs = {
        name: torch.from_numpy(arrays[name]).double().requires_grad_()
        for name in ("x", "offset", "weight", "bias", "mask")
        if name in arrays
    }
    out = deform_conv2d(
        inputs["x"],
        inputs["offset"],
        inputs["weight"],
        inputs.get("bias"),
        tuple(meta["stride"]),
        tuple(meta["padding"]),
        tuple(meta["dilation"]),
        inputs.get("mask"),
    )
    assert (out - torch.from_numpy(arrays["out"])).abs().max() < 1e-9
    gradients = torch.autograd.grad(out, list(inputs.values()), torch.from_numpy(arrays["grad_out"]).double())
    for name, gradient in zip(inputs, gradients, strict=True):
        error = (gradient - torch.from_numpy(arrays[f"g{name}"])).abs()
        if name == "offset":
            error[_on_a_grid_line(arrays, meta, gradient)] = 0
        assert error.max() < 1e-9, name


def _on_a_grid_line(arrays: dict[str, Any], meta: dict[str, Any], offset: Tensor) -> Tensor:
    """Finds the samples whose offset gradient is one-sided; a mask in the shape of offset."""
    kernel = meta["kernel"][0] * meta["kernel"][1]
    b, channels, h, w = offset.shape
    kink = np.unpackbits(arrays["kink"])[: offset.numel() // 2] if "kink" in arrays else np.zeros(offset.numel() // 2)
    pairs = torch.from_numpy(kink).bool().reshape(b, channels // (2 * kernel), kernel, 1, h, w)
    return pairs.expand(-1, -1, -1, 2, -1, -1).reshape(offset.shape)


@pytest.mark.parametrize(
    ("b", "c", "groups", "h", "w", "dilation", "reach"),
    [(1, 64, 8, 9, 13, 1, 3), (3, 8, 8, 7, 8, 3, 20), (2, 24, 4, 33, 5, 1, 1), (1, 320, 8, 4, 6, 1, 4)],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_equals_torchvision_in_float64(
    b: int, c: int, groups: int, h: int, w: int, dilation: int, reach: float, dtype: torch.dtype, tolerance: float
) -> None:
    x = torch.randn(b, c, h, w, dtype=dtype)
    offset = torch.randn(b, 18 * groups, h, w, dtype=dtype) * reach
    mask = torch.rand(b, 9 * groups, h, w, dtype=dtype)
    weight, bias = torch.randn(c, c, 3, 3, dtype=dtype) / (3 * c**0.5), torch.randn(c, dtype=dtype)
    expected = torchvision_form(*(t.double() for t in (x, offset, weight, bias)), 1, dilation, dilation, mask.double())
    actual = deform_conv2d(x, offset, weight, bias, 1, dilation, dilation, mask)
    assert (actual - expected).abs().max() < tolerance
    out_of_order = deform_conv2d(
        x.to(memory_format=torch.channels_last), offset.mT.contiguous().mT, weight, bias, 1, dilation, dilation, mask
    )
    assert torch.equal(out_of_order, actual)


def test_zero_offsets_are_a_plain_convolution() -> None:
    x, weight, bias = torch.randn(2, 8, 5, 7).double(), torch.randn(4, 8, 3, 3).double(), torch.randn(4).double()
    actual = deform_conv2d(x, torch.zeros(2, 36, 5, 7).double(), weight, bias, padding=1)
    assert (actual - F.conv2d(x, weight, bias, padding=1)).abs().max() < 1e-12


def test_batch_of_none() -> None:
    assert deform_conv2d(torch.randn(0, 4, 5, 6), torch.zeros(0, 18, 5, 6), torch.randn(3, 4, 3, 3), padding=1).shape == (
        0,
        3,
        5,
        6,
    )


@pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 7), (16, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_offset_gives_nan_there_and_huge_ones_give_zero(h: int, w: int, dtype: torch.dtype) -> None:
    x, weight = torch.randn(1, 4, h, w, dtype=dtype), torch.randn(3, 4, 3, 3, dtype=dtype)
    offset = torch.full((1, 18, h, w), 1e30, dtype=dtype)
    assert (deform_conv2d(x, offset, weight, padding=1) == 0).all()
    offset[0, 8, h // 2, w // 2] = float("nan")
    out = deform_conv2d(x, offset, weight, padding=1)
    assert out[0, :, h // 2, w // 2].isnan().all()
    assert out.isnan().sum() == 3


def test_half_precision_keeps_its_type_but_not_for_positions() -> None:
    ramp = torch.arange(2048).expand(1, 1, 3, -1).half() / 2048
    offset = torch.full((1, 2, 3, 2048), 0.25).half()  # position 1500.25 is none of fp16
    out = deform_conv2d(ramp, offset, torch.ones(1, 1, 1, 1).half())
    assert out.dtype == torch.float16
    assert abs(out[0, 0, 1, 1500].double() * 2048 - 1500.25) < 0.5  # fp16 picture values: steps of 1 here
    exact = deform_conv2d(ramp.float(), offset, torch.ones(1, 1, 1, 1))
    assert abs(exact[0, 0, 1, 1500] * 2048 - 1500.25) < 1e-3


def test_autocast_changes_nothing() -> None:
    args = torch.randn(1, 4, 6, 6), torch.randn(1, 36, 6, 6), torch.randn(4, 4, 3, 3), torch.randn(4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = deform_conv2d(*args, padding=1)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, deform_conv2d(*args, padding=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": torch.zeros(1, 17, 5, 5)}, "offset has 17 channels"),
        ({"offset": torch.zeros(1, 18, 4, 5)}, r"offset must have the shape \(1, 18, 5, 5\), got \(1, 18, 4, 5\)"),
        ({"mask": torch.zeros(1, 18, 5, 5)}, r"mask must have the shape \(1, 9, 5, 5\)"),
        ({"bias": torch.zeros(4)}, r"bias must have the shape \(6,\), got \(4,\)"),
        ({"weight": torch.zeros(6, 3, 3, 3)}, "4 input channels do not divide into groups"),
        ({"input": torch.zeros(4, 5, 5)}, "4 dimensions"),
    ],
)
def test_shapes_that_do_not_belong_together(change: dict[str, Any], message: str) -> None:
    args: dict[str, Any] = {
        "input": torch.zeros(1, 4, 5, 5),
        "offset": torch.zeros(1, 18, 5, 5),
        "weight": torch.zeros(6, 4, 3, 3),
    }
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**{**args, **change}, padding=1)
