"""The learning rate of each iteration."""

import math

from vsedvr.train.settings import TrainConfig

__all__ = ["cosine_restart"]


def cosine_restart(iteration: int, config: TrainConfig) -> float:
    """Returns the learning rate of an iteration: cosine annealing with restarts (Loshchilov and Hutter, 2017).

    In a period with weight w it is eta_min + w * (lr - eta_min) / 2 * (1 + cos(pi * t)), where t goes from 0 to 1. This is
    BasicSR's CosineAnnealingRestartLR, where the iteration between two periods still belongs to the first one.

    Args:
        iteration: number of the iteration, counted from 0.
        config: settings lr, eta_min, periods and restart_weights.
    """
    start = 0
    for period, weight in zip(config.periods, config.restart_weights, strict=True):
        if iteration <= start + period:
            done = (iteration - start) / period
            return config.eta_min + weight * (config.lr - config.eta_min) / 2 * (1 + math.cos(math.pi * done))
        start += period
    return config.eta_min
