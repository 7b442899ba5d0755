import numpy as np
import pytest

from vsedvr.evaluation.benchmarks import BENCHMARKS
from vsedvr.evaluation.published import PUBLISHED, Published

ROWS = [(name, row) for name, rows in PUBLISHED.items() for row in rows]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name} {row.method}" for name, row in ROWS])
def test_clips_average_to_the_mean(name: str, row: Published) -> None:
    clips = BENCHMARKS[name].clips
    assert row.clips.keys() <= set(clips)
    if len(row.clips) == len(clips) > 0:
        mean = np.mean([score[:2] for score in row.clips.values()], axis=0)
        assert (abs(mean - row.mean[:2]) <= [0.0101, 0.000101]).all(), "further off than rounding explains"
    assert row.source
    assert 20 < row.mean.psnr < 40
    assert 0.5 < row.mean.ssim < 1
