import math
from bisect import bisect_left
from itertools import accumulate

import pytest

from vsedvr.train.schedule import cosine_restart
from vsedvr.train.settings import TrainConfig

CONFIG = TrainConfig(iterations=60, periods=(10, 20, 30), restart_weights=(1, 0.5, 0.25), lr=4e-4, eta_min=1e-7)


def basicsr(iteration: int, config: TrainConfig) -> float:
    """Computes CosineAnnealingRestartLR by its definition: the period is that of the first cumulative length not below."""
    ends = list(accumulate(config.periods))
    n = bisect_left(ends, iteration)
    begin = [0, *ends][n]
    swing = 0.5 * config.restart_weights[n] * (config.lr - config.eta_min)
    return config.eta_min + swing * (1 + math.cos(math.pi * (iteration - begin) / config.periods[n]))


@pytest.mark.parametrize("iteration", range(60))
def test_is_basicsrs_schedule(iteration: int) -> None:
    assert cosine_restart(iteration, CONFIG) == pytest.approx(basicsr(iteration, CONFIG), rel=1e-12)


def test_begins_at_the_top_and_restarts_at_its_weights() -> None:
    assert cosine_restart(0, CONFIG) == pytest.approx(4e-4)
    assert cosine_restart(5, CONFIG) == pytest.approx((4e-4 + 1e-7) / 2)
    for border, weight, period in ((10, 0.5, 20), (30, 0.25, 30)):
        assert cosine_restart(border, CONFIG) == pytest.approx(1e-7)
        first = weight * 4e-4 * (1 + math.cos(math.pi / period)) / 2
        assert cosine_restart(border + 1, CONFIG) == pytest.approx(first, rel=1e-3)


def test_ends_at_the_bottom_and_stays_there() -> None:
    assert [cosine_restart(iteration, CONFIG) for iteration in (60, 61, 1000)] == [1e-7] * 3
