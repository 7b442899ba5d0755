import pytest
import torch

from vsedvr.model import EDVR, EDVRConfig


@pytest.mark.parametrize("with_predeblur", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_stride_is_the_pixels_of_the_input_per_position_of_the_features(scale: int, with_predeblur: bool) -> None:
    config = EDVRConfig(3, 3, 8, 3, 2, 1, 1, scale=scale, with_predeblur=with_predeblur, num_tail_feat=8)
    height, width = 2 * config.size_multiple, 3 * config.size_multiple
    features = EDVR(config).extract(torch.zeros(1, 3, height, width))
    assert features.feat[0].shape[2:] == (height // config.stride, width // config.stride)
    assert features.feat[2].shape[2:] == (2, 3), "the coarsest level has one position per multiple"
