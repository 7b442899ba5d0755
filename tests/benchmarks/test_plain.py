import pytest
import torch

from benchmarks.plain import plain_form
from conftest import TINY, random_model
from vsedvr.model import EDVRConfig


@pytest.mark.parametrize(
    "config", [TINY, EDVRConfig(3, 3, 8, 7, 2, 1, 2, center_frame_idx=2), EDVRConfig(3, 3, 8, 3, 4, 0, 1, with_tsa=False)]
)
def test_is_the_same_network(config: EDVRConfig) -> None:
    model, lq = random_model(config), torch.rand(config.num_frame, 3, 32, 48)
    with torch.inference_mode():
        assert (plain_form(model, lq) - model(lq[None])[0]).abs().max() < 1e-5
