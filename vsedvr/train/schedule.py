"""The learning rate over the iterations."""

import math

from vsedvr.train.settings import TrainConfig

__all__ = ["cosine_restart"]


def cosine_restart(iteration: int, config: TrainConfig) -> float:
    """Learning rate of an iteration, counted from 0: cosine annealing with restarts (Loshchilov and Hutter, 2017).

    In a period that begins at `start` with weight w it is eta_min + w * (lr - eta_min) / 2 * (1 + cos(pi * t)), where t goes
    from 0 to 1; BasicSR's CosineAnnealingRestartLR, in which the iteration on the border still ends the period before.
    """
    start = 0
    for period, weight in zip(config.periods, config.restart_weights, strict=True):
        if iteration <= start + period:
            done = (iteration - start) / period
            return config.eta_min + weight * (config.lr - config.eta_min) / 2 * (1 + math.cos(math.pi * done))
        start += period
    return config.eta_min
