"""The network in training, and one step of the optimisation."""

import copy
import logging
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsedvr.infer import PRECISIONS
from vsedvr.model import EDVR
from vsedvr.train.loss import LOSSES
from vsedvr.train.optimizer import make_optimizer, set_learning_rate, update_average
from vsedvr.train.processes import Processes
from vsedvr.train.schedule import cosine_restart
from vsedvr.train.settings import TrainConfig

__all__ = ["Learner"]

MAX_SKIPPED = 100
"""Number of steps in a row without a finite gradient after which the training is given up."""

logger = logging.getLogger("vsedvr")


class Learner:
    """A network in training, with all that changes in a step: weights, their average, optimiser, scaler and counters."""

    def __init__(self, model: EDVR, config: TrainConfig, processes: Processes) -> None:
        """
        Args:
            model: network to train; it is moved to this process's device.
            config: settings of the optimisation.
            processes: this process's rank among those that train together.
        """
        self.config, self.processes = config, processes
        self.device = processes.device
        self.dtype = PRECISIONS[config.precision]
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        """Network whose weights are the moving average of the model's."""
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.iteration = 0
        """Number of finished steps."""
        self.skipped = 0
        """Number of the last steps in a row without a finite gradient."""
        self.network: nn.Module | None = None
        """The model, with those parameters enabled that are trained now, wrapped so that processes share gradients."""

    def step(self, lq: Tensor, gt: Tensor) -> float:
        """Trains for one iteration.

        Args:
            lq: this process's share of the batch, (b, t, 3, h, w) in [0, 1], float32.
            gt: ground truth of the centre frames, (b, 3, scale * h, scale * w) in [0, 1], float32.

        Returns:
            Loss of this share.

        Raises:
            ValueError: if no gradient was finite for MAX_SKIPPED iterations.
        """
        if self.network is None or self.iteration == self.config.tsa_warmup:
            self.network = self._share_network()
        set_learning_rate(self.optimizer, cosine_restart(self.iteration, self.config))
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            restored = self.network(lq)
        loss = self._loss(restored, gt)
        # PyTorch averages the gradients of processes, which is right for a mean; for a sum they must be added
        share = self.processes.count if self.config.loss_reduction == "sum" else 1
        self.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        self._update()
        self.iteration += 1
        return float(loss.detach())

    def _loss(self, restored: Tensor, gt: Tensor) -> Tensor:
        """Returns the preset's loss. The paper's, of R, G and B, has no weight for the colours beside the luma."""
        weight = {} if self.config.loss == "charbonnier" else {"colour_weight": self.config.colour_weight}
        return LOSSES[self.config.loss](restored, gt, self.config.loss_eps, self.config.loss_reduction, **weight)

    def _share_network(self) -> nn.Module:
        """Chooses the parameters to train, and shares the network. In TSA's warm-up only the fusion learns (section 4.1)."""
        warming_up = self.iteration < self.config.tsa_warmup
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not warming_up or name.startswith("fusion."))
        return DistributedDataParallel(self.model) if self.processes.count > 1 else self.model

    def _update(self) -> None:
        """Takes one step of the optimiser, unless a gradient is not finite, because the weights would not be finite either."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf)
        if norm.isfinite():
            self.skipped = 0
            self.scaler.step(self.optimizer)
            update_average(self.ema, self.model, self.config.ema_decay, self.iteration)
        else:
            self.skipped += 1
            if not self.scaler.is_enabled():  # a scaler overflows now and then by design, and lowers its scale
                logger.warning("iteration %d skipped: its gradient is not finite", self.iteration + 1)
        if self.skipped == MAX_SKIPPED:
            raise ValueError(
                f"no finite gradient in {MAX_SKIPPED} iterations up to {self.iteration + 1}: go on from an earlier checkpoint "
                f"(--init) with a lower train.lr (now {self.config.lr}) or train.dcn_lr_mul (now {self.config.dcn_lr_mul})"
            )
        self.scaler.update()

    def close(self) -> None:
        """Drops the wrapped network, so that the process group can end; its threads live as long as something refers to it."""
        self.network = None

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the next step depends on, except its batch."""
        parts: dict[str, Any] = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer, "scaler": self.scaler}
        return {**{name: part.state_dict() for name, part in parts.items()}, "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a state that state_dict returned.

        Raises:
            ValueError: if it does not fit this network.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("the state of the training is not whole: it does not fit its network") from error
        self.iteration = state["iteration"]
