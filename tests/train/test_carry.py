import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import TINY
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.carry import carry_pixels

CONFIG = dataclasses.replace(TINY, num_feat=36, deformable_groups=4, num_tail_feat=5)


def carrying(config: EDVRConfig = CONFIG) -> EDVR:
    model = EDVR(config)
    carry_pixels(model)
    return model


def luma_of(picture: Tensor) -> Tensor:
    """Computes luma: (b, 3, h, w) to (b, h, w)."""
    return (picture * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)


def pack(picture: Tensor) -> Tensor:
    """Packs four pixels into the channels of one position, twice: (b, h, w) to (b, 16, h / 4, w / 4)."""
    packed = F.pixel_unshuffle(F.pixel_unshuffle(picture[:, None], 2), 2)  # channel 4 * k + p
    return packed[:, [4 * k + p for p in range(4) for k in range(4)]]


@torch.no_grad()
@pytest.mark.parametrize(("center", "beside"), [(2, [1, 3]), (0, [1]), (4, [3])])
def test_lumas_arrive_pixel_by_pixel_at_the_reconstruction(center: int, beside: list[int]) -> None:
    model = carrying(dataclasses.replace(CONFIG, center_frame_idx=center))
    seen: list[Tensor] = []
    model.reconstruction.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    lq = torch.rand(2, 5, 3, 16, 32)
    model(lq)
    assert (seen[0][:, :16] - pack(luma_of(lq[:, center]))).abs().max() < 1e-5
    assert (seen[0][:, 16:32] - pack(luma_of(lq[:, beside].mean(1)))).abs().max() < 1e-5


@torch.no_grad()
def test_every_pixel_begins_with_the_same_filter() -> None:
    model = carrying()
    lq = torch.rand(1, 5, 3, 64, 64)
    moved = lq.roll((1, 2), (3, 4))
    added, added_to_moved = model(lq) - lq[:, 2], model(moved) - moved[:, 2]
    inner = (..., slice(24, 40), slice(24, 40))  # what lies at the edges in neither
    assert (added.roll((1, 2), (2, 3)) - added_to_moved)[inner].abs().max() < 1e-6
    assert added[inner].std() > 1e-4


@torch.no_grad()
def test_brightness_alone_gives_nothing_to_filter() -> None:
    model = carrying()
    dark, light = (model(torch.full((1, 5, 3, 64, 64), grey))[..., 24:40, 24:40] for grey in (0.2, 0.8))
    assert (dark - 0.2).abs().max() < 1e-6
    assert (light - 0.8).abs().max() < 1e-6


@torch.no_grad()
def test_a_network_that_learned_nothing_gives_nearly_its_input() -> None:
    lq = torch.rand(1, 5, 3, 32, 32)
    assert (carrying()(lq) - lq[:, 2]).std() < 0.01


def test_what_begins_at_zero_learns_from_the_first_step() -> None:
    model = carrying()
    lq = torch.rand(1, 5, 3, 32, 32)
    (model(lq) - torch.rand(1, 3, 32, 32)).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name in (
        "conv_first",
        "pcd_align.cas_dcnpack.conv_offset",
        "fusion.temporal_attn1",
        "fusion.spatial_attn5",
        "conv_last",
    ):
        gradient = gradients[f"{name}.weight"]
        assert gradient is not None
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize(
    "config",
    [
        EDVRConfig(),
        dataclasses.replace(CONFIG, with_predeblur=True),
        dataclasses.replace(CONFIG, with_tsa=False),
        dataclasses.replace(CONFIG, num_feat=28),
    ],
)
def test_networks_that_it_is_not_for(config: EDVRConfig) -> None:
    with pytest.raises(ValueError, match=r"train\.carry_pixels is for networks with network\.scale 1 and .* of at least 32"):
        carry_pixels(EDVR(config))
