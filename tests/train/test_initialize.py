"""A network gets weights from a trained one that is shallower, narrower, has fewer frames or no TSA."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import TINY, random_model
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.initialize import initialize
from vsedvr.train.state import save_model


def donor(tmp_path: Path, config: EDVRConfig) -> tuple[str, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model = EDVR(config)
    save_model(tmp_path / "donor.safetensors", model, {})
    return str(tmp_path / "donor.safetensors"), model.state_dict()


def test_a_deep_network_begins_from_a_shallow_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, shallow = donor(tmp_path, replace(TINY, num_extract_block=1, num_reconstruct_block=2))
    deep = EDVR(replace(TINY, num_extract_block=3, num_reconstruct_block=5))
    with caplog.at_level(logging.INFO, "vsedvr"):
        initialize(deep, path)
    assert f"begins from {path}; fresh: nothing" in caplog.text
    for key, value in deep.state_dict().items():
        blocks, _, rest = key.partition(".")
        if blocks in ("feature_extraction", "reconstruction"):
            i, _, rest = rest.partition(".")
            key = f"{blocks}.{int(i) % (1 if blocks == 'feature_extraction' else 2)}.{rest}"
        assert torch.equal(value, shallow[key]), key


def test_a_network_with_tsa_begins_from_one_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, without = donor(tmp_path, replace(TINY, with_tsa=False))
    model = EDVR(TINY)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO, "vsedvr"):
        initialize(model, path)
    assert "fresh: fusion" in caplog.text
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith("fusion.") else without[key]), key


@pytest.mark.parametrize("config", [TINY, replace(TINY, scale=2), replace(TINY, scale=4), replace(TINY, with_predeblur=True)])
def test_a_wide_network_begins_with_what_a_narrow_one_gives(tmp_path: Path, config: EDVRConfig) -> None:
    narrow, wide = random_model(config), random_model(replace(config, num_feat=12))
    with torch.no_grad():  # attention that weighs frames apart; a fresh one hardly does
        for model in (narrow, wide):
            model.fusion.get_parameter("temporal_attn1.weight").mul_(30)
            model.fusion.get_parameter("temporal_attn2.weight").mul_(30)
    save_model(tmp_path / "narrow.safetensors", narrow, {})
    initialize(wide, str(tmp_path / "narrow.safetensors"))
    clip = torch.rand(2, config.num_frame, 3, 32, 48)
    restored = wide(clip)
    assert (restored - narrow(clip)).abs().max() < 1e-5
    restored.square().sum().backward()
    for name, parameter in wide.named_parameters():  # the new channels are not cut off: the next step is for all
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("with_tsa", [True, False])
def test_a_network_of_more_frames_begins_with_what_one_of_fewer_gives_where_nothing_moves(
    tmp_path: Path, with_tsa: bool
) -> None:
    few = random_model(replace(TINY, num_frame=3, with_tsa=with_tsa))
    save_model(tmp_path / "few.safetensors", few, {})
    more = random_model(replace(TINY, num_frame=7, num_feat=12, with_tsa=with_tsa))
    initialize(more, str(tmp_path / "few.safetensors"))
    still = torch.rand(1, 1, 3, 32, 48).repeat(1, 7, 1, 1, 1).requires_grad_()
    restored = more(still)
    assert (restored - few(still[:, :3])).abs().max() < 1e-5
    restored.sum().backward()
    assert still.grad is not None
    assert (still.grad.abs().amax((0, 2, 3, 4)) > 0).all()  # each frame has its part


@pytest.mark.parametrize("config", [replace(TINY, num_feat=4), replace(TINY, deformable_groups=4)])
def test_a_network_that_does_not_fit_is_refused(tmp_path: Path, config: EDVRConfig) -> None:
    path, _ = donor(tmp_path, TINY)
    model = EDVR(config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"num_feat 8 and deformable_groups 2; .* no fewer features, not \d and \d"):
        initialize(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_to_begin_from_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at 'missing"):
        initialize(EDVR(TINY), "missing.safetensors")
