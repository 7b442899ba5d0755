import pytest
import torch

from conftest import random_model
from vsedvr.model import EDVRConfig
from vsedvr.model.pcd import SplitConv


@pytest.mark.parametrize("num_feat", [8, 32])
@pytest.mark.parametrize("packed", [False, True])
def test_a_split_convolution_is_the_sum_of_its_shares(num_feat: int, packed: bool) -> None:
    conv, nbr, ref = SplitConv(num_feat), *torch.rand(2, 1, num_feat, 9, 7)
    if packed:
        conv.pack()
    with torch.inference_mode():
        expected = torch.nn.functional.conv2d(torch.cat([nbr, ref], 1), conv.weight, conv.bias, padding=1)
        assert (conv(torch.cat([nbr, ref], 1)) - expected).abs().max() < 1e-5
        assert (conv.nbr_share(nbr) + conv.ref_share(ref) - expected).abs().max() < 1e-5
    assert list(conv.state_dict()) == ["weight", "bias"]


def test_packed_weights_give_the_same_bits() -> None:
    model = random_model(EDVRConfig(3, 3, 32, 5, 4, 1, 1, num_tail_feat=32))
    lq = torch.rand(1, 5, 3, 20, 28)
    with torch.inference_mode():
        expected = model(lq)
        for module in model.modules():
            if isinstance(module, SplitConv):
                module.pack()
        assert torch.equal(model(lq), expected)


def test_gradients_reach_the_weight_through_both_shares() -> None:
    conv, nbr, ref = SplitConv(4), *torch.rand(2, 1, 4, 5, 5)
    (conv.nbr_share(nbr) + 2 * conv.ref_share(ref)).sum().backward()  # type: ignore[no-untyped-call]
    assert conv.weight.grad is not None
    assert (conv.weight.grad != 0).all()
