import dataclasses

import pytest
import torch
from torch import Tensor, nn

from conftest import TINY
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.carry import carry_pixels

CONFIG = dataclasses.replace(TINY, num_feat=24, deformable_groups=4, num_tail_feat=5)


def before_conv_last(model: EDVR, lq: Tensor) -> Tensor:
    seen: list[Tensor] = []
    model.conv_last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(lq)
    return seen[0]


def test_lumas_arrive_pixel_by_pixel() -> None:
    """With attention that weighs all alike and blocks that add nothing, only scaled."""
    model = EDVR(CONFIG)
    carry_pixels(model)
    for name, module in model.named_modules():
        if name.endswith((".conv2", "temporal_attn1", "spatial_attn5", "spatial_attn_add2")) and "pcd" not in name:
            assert isinstance(module, nn.Conv2d)
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    lq = torch.rand(2, 5, 3, 16, 32)
    luma = (lq[:, 2] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    assert (before_conv_last(model, lq)[:, 0] - luma / 2).abs().max() < 1e-5, "a logit of 0 is the weight 1/2"


def test_most_of_them_arrives_in_a_fresh_network() -> None:
    lq = torch.rand(1, 5, 3, 32, 32)
    luma = (lq[0, 2] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)

    def likeness(model: EDVR) -> float:
        seen = before_conv_last(model, lq)[0]
        return max(float(torch.corrcoef(torch.stack([luma.flatten(), channel.flatten()]))[0, 1]) for channel in seen)

    fresh, carrying = EDVR(CONFIG), EDVR(CONFIG)
    carry_pixels(carrying)
    assert likeness(fresh) < 0.1
    assert likeness(carrying) > 0.3


@pytest.mark.parametrize(
    "config",
    [
        EDVRConfig(),
        dataclasses.replace(CONFIG, with_predeblur=True),
        dataclasses.replace(CONFIG, with_tsa=False),
        dataclasses.replace(CONFIG, num_feat=12),
    ],
)
def test_networks_that_it_is_not_for(config: EDVRConfig) -> None:
    with pytest.raises(ValueError, match=r"train\.carry_pixels is for networks with network\.hr_in and TSA, .* of at least 16"):
        carry_pixels(EDVR(config))
