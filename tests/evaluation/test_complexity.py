import pytest

from conftest import random_model
from vsedvr.evaluation.complexity import measure_complexity, measure_stages
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import native


@pytest.mark.parametrize(
    ("config", "size", "parameters", "thousands"),
    [
        (EDVRConfig(), (320, 180), 3_300_131, 8452),
        (EDVRConfig(with_tsa=False), (320, 180), 2_996_259, 8145),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40), (320, 180), 20_633_827, 36727),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, num_frame=7), (320, 180), 20_699_363, 45582),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, with_predeblur=True), (320, 180), 23_306_851, 45242),
        (EDVRConfig(num_feat=128, num_reconstruct_block=40, with_predeblur=True, scale=1), (1280, 720), 23_602_019, 3074),
    ],
    ids=["M", "M woTSA", "L", "L of 7 frames", "SRblur L", "deblur L"],
)
def test_the_published_networks(config: EDVRConfig, size: tuple[int, int], parameters: int, thousands: int) -> None:
    """The expected MACs per input pixel, in thousands, were counted by hooks on the reference implementation's convolutions."""
    complexity = measure_complexity(EDVR(config), size[1], size[0])
    assert complexity.parameters == parameters
    assert complexity.macs / (size[0] * size[1] * 1000) == pytest.approx(thousands, abs=1)


def test_phases_of_edvr_m() -> None:
    """The expected numbers are thousands of MACs per input pixel, added up from the layers' sizes."""
    extract, align, fuse, reconstruct = (macs / 57600 / 1000 for macs in measure_complexity(EDVR(), 180, 320)[1:])
    assert extract + align == pytest.approx(1967 + 4065, abs=1)
    shares = 9 * 64 * 64 / 1000 * (2 * (1 + 1 / 4 + 1 / 16) + 1)  # of offset_conv1 and of cas_offset_conv1, a frame
    assert extract == pytest.approx(1967 + 5 * shares, abs=1)
    assert fuse == pytest.approx(327, abs=1)
    assert reconstruct == pytest.approx(737 + 1355, abs=1)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_without_the_kernels_the_count_is_the_same(monkeypatch: pytest.MonkeyPatch, scale: int) -> None:
    model = EDVR(EDVRConfig(num_feat=16, deformable_groups=2, num_reconstruct_block=1, scale=scale))
    with_kernels = measure_complexity(model, 64, 32)
    monkeypatch.setattr(native, "is_available", lambda: False)
    assert measure_complexity(model, 64, 32) == with_kernels


def test_the_input_is_padded_as_the_engine_does() -> None:
    assert measure_complexity(random_model(), 33, 16) == measure_complexity(random_model(), 48, 16)
    assert measure_complexity(random_model(), 48, 32).macs == 6 * measure_complexity(random_model(), 16, 16).macs


def test_of_two_stages_and_an_ensemble_all_counts() -> None:
    first, second = EDVR(), EDVR(EDVRConfig(num_feat=16, deformable_groups=2, num_reconstruct_block=1, scale=1))
    one, two = measure_complexity(first, 45, 80), measure_complexity(second, 180, 320)
    both = measure_stages([first, second], 45, 80, ensemble=4)
    assert both.parameters == one.parameters + two.parameters
    assert both.macs == 4 * (one.macs + two.macs)
    assert measure_stages([first], 45, 80) == one
