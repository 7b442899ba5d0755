import pytest

from vsedvr.infer import clip_windows, published_padding
from vsedvr.model import EDVRConfig


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        (EDVRConfig(), "reflection_circle"),
        (EDVRConfig(hr_in=True), "reflection_circle"),
        (EDVRConfig(with_predeblur=True), "replicate"),
        (EDVRConfig(hr_in=True, with_predeblur=True), "replicate"),
    ],
)
def test_the_padding_of_published_models_is_the_default(config: EDVRConfig, padding: str) -> None:
    assert published_padding(config) == padding
    assert clip_windows(config, 9).indices(0) == clip_windows(config, 9, padding).indices(0)


def test_windows_follow_the_network() -> None:
    config = EDVRConfig(num_frame=3, center_frame_idx=0)
    assert clip_windows(config, 20, "circle").indices(9) == [9, 10, 11]
