"""Evaluation restores the same frames as the filter in VapourSynth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from videos import write_rgb

import vsedvr
from conftest import moving_frames, random_model
from vs_clips import rgb24_clip
from vsedvr.data.pairs import open_pair
from vsedvr.evaluation.pair_restorer import PairRestorer
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.mark.parametrize(("second", "ensemble"), [(False, 1), (True, 1), (True, 4)])
def test_a_video_with_a_cut_is_restored_as_by_the_filter(tmp_path: Path, second: bool, ensemble: int) -> None:
    lq = [*moving_frames(5, 16, 20, (1, 1)), *(255 - frame for frame in moving_frames(4, 16, 20, (0, 2)))]
    path = write_rgb(tmp_path / "lq.mkv", lq, "ffv1", pixels="bgr0")
    gt = write_rgb(tmp_path / "gt.mkv", [frame.repeat(4, 0).repeat(4, 1) for frame in lq], "ffv1", pixels="bgr0")
    model, refine = random_model(X4), random_model() if second else None
    pair = open_pair("film", (gt, path), None, 4)
    assert pair.scene_starts(0, 8) == [0, 5]
    filtered = vsedvr.edvr(rgb24_clip(lq), model=model, refine=refine, ensemble=ensemble, device_index=-1)
    restore = PairRestorer(model, torch.device("cpu"), torch.float32, refine=refine, ensemble=ensemble)
    for n in range(9):
        frame = filtered.get_frame(n)
        expected = np.stack([np.asarray(frame[plane]) for plane in range(3)], 2).astype(int)
        assert abs(restore(pair, n) - expected).max() <= 1
