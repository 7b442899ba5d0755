"""Adam with a learning rate for each part of the network, and the moving average of the weights."""

from torch import nn, optim

from vsedvr.model import EDVR
from vsedvr.train.settings import TrainConfig

__all__ = ["make_optimizer", "set_learning_rate", "update_average"]

ENLARGEMENT = ("upconv", "conv_hr", "conv_last")
"""Beginnings of the names of the convolutions that enlarge and come last."""


def make_optimizer(model: EDVR, config: TrainConfig) -> optim.Adam:
    """Makes an Adam optimiser with a group of parameters for each learning rate; its "lr_mul" is its factor of train.lr.

    Parameters before the enlargement have train.body_lr_mul, and convolutions that predict offsets train.dcn_lr_mul.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_body = 1.0 if name.startswith(ENLARGEMENT) else config.body_lr_mul
        predicts_offsets = config.dcn_lr_mul if "conv_offset" in name else 1.0
        groups.setdefault(in_body * predicts_offsets, []).append(parameter)
    return optim.Adam([{"params": parameters, "lr_mul": mul} for mul, parameters in groups.items()], config.lr, config.betas)


def set_learning_rate(optimizer: optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every group of make_optimizer to `lr` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mul"]


def update_average(average: nn.Module, model: nn.Module, decay: float, iteration: int) -> None:
    """Moves the average of the weights towards the current weights.

    Args:
        average: network with the averaged weights, which are changed.
        model: network with the current weights.
        decay: train.ema_decay, the share of the old average that is kept. In iteration n it is at most (1 + n) / (10 + n), so
            that the start is soon forgotten.
        iteration: number of the iteration, counted from 0.
    """
    decay = min(decay, (1 + iteration) / (10 + iteration))
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value.detach(), 1 - decay)
