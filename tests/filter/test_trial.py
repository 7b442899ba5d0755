from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import vapoursynth as vs

import vsedvr
from vsedvr.filter import trial as trials
from vsedvr.filter.trial import FIGURES, moving_clip, samples, trial
from vsedvr.model import EDVR
from vsedvr.weights import load_model


@pytest.mark.parametrize("model", FIGURES)
def test_figures_are_what_the_models_make_of_the_clip(model: str) -> None:
    """The samples are computed in fp32 on a CPU. After a model has changed, a failure shows its new figures."""
    found = [[round(float(value), 1) for value in row] for row in samples(model, -1)]
    assert np.abs(np.subtract(found, FIGURES[model])).max() <= 0.11, found


def test_the_trial_passes() -> None:
    finding = trial(-1)
    assert finding.name == "5 frames on cpu"
    assert finding.text.startswith("restored as they must be")
    assert not finding.broken


def zero(part: str) -> Callable[[EDVR], None]:
    def harm(model: EDVR) -> None:
        for name, parameter in model.named_parameters():
            if part in name:
                torch.nn.init.zeros_(parameter)

    return harm


@pytest.mark.parametrize("part", ["conv_offset", "dcn_pack.l1.weight", "spatial_attn", "upconv2", "conv_last"])
def test_every_part_of_the_network_shows(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The trial notices if a part of the network does nothing."""
    harmed = load_model("small")
    zero(part)(harmed)
    monkeypatch.setattr(trials, "edvr", lambda clip, model, **options: vsedvr.edvr(clip, model=harmed, **options))
    monkeypatch.setattr(trials, "FIGURES", {"small": FIGURES["small"]})
    finding = trial(-1)
    assert finding.text.startswith("wrong pictures (difference of 255: small ")
    assert finding.advice == "mend what is broken above first; if nothing is, report this output as a fault of vsedvr"
    assert finding.broken


def test_pictures_that_are_no_numbers_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "samples", lambda model, device_index: np.full((5, 8), np.nan))
    assert trial(-1).broken


def test_an_error_of_the_filter_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(clip: vs.VideoNode, **options: object) -> vs.VideoNode:
        raise vs.Error("edvr: out of memory")

    monkeypatch.setattr(trials, "edvr", fail)
    finding = trial(0)
    assert finding.name == "5 frames on cuda:0"
    assert finding.text == "small stops with an error: edvr: out of memory"
    assert finding.advice == "docs/messages.md tells what it means"
    assert finding.broken


@pytest.mark.parametrize("format", [vs.RGB24, vs.YUV420P8, vs.GRAY8])
def test_the_clip_moves_by_two_pixels_a_frame(format: vs.PresetVideoFormat) -> None:
    clip = moving_clip(40, 30, 4, format)
    assert (clip.width, clip.height, clip.num_frames, clip.format.id) == (40, 30, 4, format)
    frames = [np.asarray(frame[0]).copy() for frame in clip.frames(close=True)]
    for before, after in pairwise(frames):
        assert np.array_equal(before[2:, 2:], after[:-2, :-2])
        assert not np.array_equal(before, after)
    assert frames[0].std() > 50
    assert moving_clip(40, 30, 1, format).num_frames == 1
