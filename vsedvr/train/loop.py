"""The training loop, which can be stopped at any time, resumes exactly, and gives the same for any number of processes."""

import contextlib
import functools
import logging
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from vsedvr.infer import PRECISIONS
from vsedvr.model import EDVR
from vsedvr.train.carry import carry_pixels
from vsedvr.train.dataset import TrainingData
from vsedvr.train.initialize import initialize
from vsedvr.train.learner import Learner
from vsedvr.train.loader import open_batches
from vsedvr.train.log import TrainingLog
from vsedvr.train.preset import Preset
from vsedvr.train.processes import Processes
from vsedvr.train.resume import Places, check_unchanged
from vsedvr.train.schedule import cosine_restart
from vsedvr.train.signals import on_stop_signal
from vsedvr.train.state import save_model, save_state
from vsedvr.train.validation import Validation

__all__ = ["Trainer"]

logger = logging.getLogger("vsedvr")


class Trainer:
    """A training with its output folder.

    The folder gets last.pt (the whole state, to resume), last.safetensors and best.safetensors (the moving average of the
    weights, as a model file that every command can load), log.csv and tensorboard/.
    """

    def __init__(
        self,
        preset: Preset,
        data: TrainingData,
        output: Path,
        processes: Processes,
        validation: Validation | None = None,
        model: EDVR | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            preset: the whole configuration.
            data: training samples.
            output: folder for results; created if it does not exist.
            processes: this process's rank among those that train together.
            validation: decides which weights become best.safetensors; without it there is no such file. Only the first process
                needs it.
            model: network to train instead of a new one from the preset.
            state: state of the training to resume, from state.load_state; None starts a new training.

        Raises:
            ValueError: if the batch cannot be divided among the processes, or the state belongs to another preset or other
                data, so that the next losses would differ.
            OSError: if the checkpoint to begin from does not exist.
        """
        config = preset.train
        if config.batch % processes.count:
            raise ValueError(f"train.batch {config.batch} does not divide among {processes.count} processes")
        self.preset, self.config, self.data, self.processes = preset, config, data, processes
        self.digest = data.digest if processes.is_first else ""
        self.output, self.validation = output, validation
        self.on_step: Callable[[int, float], None] = lambda iteration, loss: None
        """Function called after each iteration with its number, counted from 1, and its loss."""
        torch.manual_seed(config.seed)
        model = model or _fresh_network(preset)
        if state is None:
            _initialize(model, preset)
        self.learner = Learner(model, config, processes)
        self.validated = 0
        """Number of the last iteration after which the validation was done."""
        self.best = -math.inf
        """PSNR of best.safetensors, in dB."""
        self.best_by: str | None = None
        """Digest of the validation that measured `best`."""
        self.stop_asked: signal.Signals | None = None
        if state is not None:
            self._resume(state)

    @property
    def iteration(self) -> int:
        """Number of finished iterations."""
        return self.learner.iteration

    def run(self) -> None:
        """Trains to the end, or until SIGINT or SIGTERM; then saves and returns.

        Raises:
            ChildProcessError: if a worker that prepares data fails.
            ValueError: if hardly any source can be read, or gradients are no longer finite.
            OSError: if the state cannot be saved at the end.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        with (
            on_stop_signal(self._ask_to_stop),
            contextlib.closing(self.learner),
            TrainingLog(self.output, self.iteration, self.config, silent=not self.processes.is_first) as log,
            open_batches(self.data, self.config, self.processes, self.iteration) as batches,
        ):
            self.processes.first(functools.partial(self._validate, log))  # a validation that a stop prevented
            for lq, gt in batches:
                loss, stop = self._agree(self.learner.step(lq, gt))
                self._tell(log, loss)
                if stop or self._due(self.config.save_every) or self._due(self.config.valid_every):
                    self.processes.first(functools.partial(self._keep, log, stop))
                if stop:
                    break

    def _agree(self, loss: float) -> tuple[float, bool]:
        """Returns the loss of the whole batch, and whether to stop. Processes must agree: a single one would wait forever."""
        stop = self.stop_asked is not None
        if self.processes.count == 1:
            return loss, stop
        shared = torch.tensor([loss, float(stop)], dtype=torch.float64, device=self.processes.device)
        distributed.all_reduce(shared)
        total, asked = shared.tolist()
        return total if self.config.loss_reduction == "sum" else total / self.processes.count, asked > 0

    def _tell(self, log: TrainingLog, loss: float) -> None:
        log.step(self.iteration, loss, cosine_restart(self.iteration - 1, self.config))
        self.on_step(self.iteration, loss)

    def _due(self, every: int) -> bool:
        return self.iteration % every == 0 or self.iteration == self.config.iterations

    def _ask_to_stop(self, number: signal.Signals) -> None:
        self.stop_asked = number

    def _keep(self, log: TrainingLog, stop: bool) -> None:
        """Saves the state, and validates only afterwards, so that a failing validation loses no iteration."""
        try:
            self._save()
            if not stop:
                self._validate(log)
        except OSError as error:
            if stop or self.iteration == self.config.iterations:
                raise
            logger.warning("iteration %d is not saved; the training goes on and tries again later: %s", self.iteration, error)
        if stop:
            logger.warning(
                "stopped after iteration %d and saved; vsedvr train --resume %s goes on from there", self.iteration, self.output
            )

    def _validate(self, log: TrainingLog) -> None:
        """Validates if this is due and not done yet. If a validation fails, there is a warning."""
        if self.validation is None or not self._due(self.config.valid_every) or self.validated == self.iteration:
            return
        try:
            result = self.validation(self.learner.ema)
        except Exception as error:  # for example a GPU without enough memory
            reason = f"{type(error).__name__}: {error}"
            logger.warning("iteration %d is not validated, the training goes on: %s", self.iteration, reason)
            return
        log.validated(self.iteration, result)
        self._forget_another_best(self.validation.digest)
        if result.psnr_y > self.best:
            self.best = result.psnr_y
            self._save_model("best.safetensors", validation_psnr_y=self.best)
        self.validated = self.iteration
        self._save()

    def _forget_another_best(self, validation: str) -> None:
        """Renames best.safetensors if another validation measured it, since scores of different validations do not compare."""
        if self.best_by == validation:
            return
        path = self.output / "best.safetensors"
        if path.exists():
            renamed = path.replace(path.with_stem(f"best_until_{self.iteration}"))
            logger.warning("the validation is another one from here on: the best until now is kept as %s", renamed.name)
        self.best, self.best_by = -math.inf, validation

    def _save(self) -> None:
        places = Places(self.data.root, *((self.validation.gt, self.validation.lq) if self.validation else ()))
        state = {
            **self.learner.state_dict(),
            "validated": self.validated,
            "best": self.best,
            "best_by": self.best_by,
            "record": self._record(),
            "places": [path and str(path.absolute()) for path in places],
        }
        save_state(self.output / "last.pt", state)
        self._save_model("last.safetensors")

    def _save_model(self, name: str, **figures: float) -> None:
        record = {**self._record(), "iteration": self.iteration, **figures}
        # Models are given to other people: they tell the name of the checkpoint they began from, but not its folder
        record["preset"]["train"]["init"] = Path(self.config.init).name
        save_model(self.output / name, self.learner.ema, record, PRECISIONS[self.config.store])

    def _record(self) -> dict[str, Any]:
        """Returns the record of what the weights were trained with: the preset, and the digest of the data."""
        return {"preset": self.preset.as_dict(), "data": self.digest}

    def _resume(self, state: dict[str, Any]) -> None:
        check_unchanged(state, self.preset)
        if self.processes.is_first and state["record"]["data"] != self.digest:
            raise ValueError(
                f"a training goes on with the same data only, and files below {self.data.root} changed since: "
                f"begin a new one in another --output, with --init {self.output / 'last.safetensors'}"
            )
        self.learner.load_state_dict(state)
        # older versions did not record these two
        self.validated = state.get("validated", self.iteration)
        self.best, self.best_by = state.get("best", -math.inf), state.get("best_by")


def _fresh_network(preset: Preset) -> EDVR:
    with torch.device("cpu"):  # in spite of another default device, so that the random weights are always the same
        return EDVR(preset.network)


def _initialize(model: EDVR, preset: Preset) -> None:
    if preset.train.init:
        initialize(model, preset.train.init)
    elif preset.train.carry_pixels:
        carry_pixels(model)
