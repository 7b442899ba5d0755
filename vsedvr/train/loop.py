"""The training loop: exact to resume, safe to stop, the same over any number of processes."""

import contextlib
import copy
import logging
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vsedvr.model import EDVR
from vsedvr.train.carry import carry_pixels
from vsedvr.train.checkpoint import load_state, save_model, save_state
from vsedvr.train.dataset import TrainingData
from vsedvr.train.initialize import initialize
from vsedvr.train.loss import LOSSES
from vsedvr.train.preset import Preset
from vsedvr.train.processes import Processes
from vsedvr.train.progress import Progress
from vsedvr.train.schedule import cosine_restart
from vsedvr.train.validation import Validation

__all__ = ["Trainer"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MAX_SKIPPED = 100
"""Steps in a row without a finite gradient after which there is nothing left to hope for."""

REPORTING = {"log_every", "valid_every", "save_every", "workers"}
"""Settings that no weight depends on."""

ENLARGEMENT = ("upconv", "conv_hr", "conv_last")
"""What the names of the last convolutions begin with."""

logger = logging.getLogger("vsedvr")


class Trainer:
    """One training in one output folder.

    The folder gets last.pt (everything, to resume), last.safetensors and best.safetensors (the moving average of the
    weights, as a model file that every command takes), log.csv and tensorboard/.
    """

    def __init__(
        self,
        preset: Preset,
        data: TrainingData,
        output: Path,
        processes: Processes,
        validation: Validation | None = None,
        model: EDVR | None = None,
    ) -> None:
        """
        Args:
            preset: what to do.
            data: what to learn from.
            output: folder for what comes out; made where it is not there.
            processes: this one's place among those that train together.
            validation: what best.safetensors is chosen by; without it there is none.
            model: a network to train in place of a fresh one of the preset's.

        Raises:
            ValueError: if the batch does not divide among the processes.
        """
        config = preset.train
        if config.batch % processes.count:
            raise ValueError(f"train.batch {config.batch} does not divide among {processes.count} processes")
        self.preset, self.config, self.data, self.processes = preset, config, data, processes
        self.output, self.validation = output, validation
        self.device = processes.device
        self.dtype = PRECISIONS[config.precision]
        torch.manual_seed(config.seed)
        self.model = model or EDVR(preset.network)
        if config.init:
            initialize(self.model, config.init)
        elif config.carry_pixels:
            carry_pixels(self.model)
        self.model = self.model.to(self.device).to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = _optimizer(self.model, preset)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.iteration = 0
        self.best = -math.inf
        self.skipped = 0
        self.stop_asked = False

    def resume(self) -> None:
        """Goes on from last.pt.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it belongs to another preset or other data: then the next losses would not be the same.
        """
        state = load_state(self.output / "last.pt")
        _check_same(state["record"], self._record())
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.iteration, self.best = state["iteration"], state["best"]

    def run(self) -> None:
        """Trains to the end, or until SIGINT or SIGTERM, after which it saves and returns."""
        self.output.mkdir(parents=True, exist_ok=True)
        with _signals_stop(self), Progress(self.output, self.iteration, self.config, self.processes) as progress:
            network = self._network()
            for lq, gt in self._batches():
                if self.iteration == self.config.tsa_warmup:
                    network = self._network()
                loss = self._step(network, lq, gt)
                self.iteration += 1
                progress.step(self.iteration, loss, cosine_restart(self.iteration - 1, self.config))
                stop = self._stop_agreed()
                if self._due(self.config.valid_every):
                    self._validate(progress)
                if stop or self._due(self.config.save_every):
                    self._save()
                if stop:
                    logger.warning("stopped after iteration %d and saved; --resume goes on from there", self.iteration)
                    break

    def _network(self) -> nn.Module:
        """The model with what is to be trained now: only the fusion while TSA warms up (paper, section 4.1)."""
        warming_up = self.iteration < self.config.tsa_warmup
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not warming_up or name.startswith("fusion."))
        return DistributedDataParallel(self.model) if self.processes.count > 1 else self.model

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of every batch from the present iteration on."""
        share = self.config.batch // self.processes.count
        first = self.processes.rank * share
        samples = (
            range(i * self.config.batch + first, i * self.config.batch + first + share)
            for i in range(self.iteration, self.config.iterations)
        )
        loader = DataLoader(
            self.data,
            batch_sampler=samples,  # type: ignore[arg-type]  # any iterable does, and this one is not finished in memory
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_start_worker,
            # a forked process hangs in OpenCV once this one has used its threads, as validation does for motion blur
            multiprocessing_context="spawn" if self.config.workers else None,
        )
        for lq, gt in loader:
            yield lq.to(self.device, non_blocking=True), gt.to(self.device, non_blocking=True)

    def _step(self, network: nn.Module, lq: Tensor, gt: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_restart(self.iteration, self.config) * group["lr_mul"]
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            restored = network(lq)
        loss = LOSSES[self.config.loss](restored, gt, self.config.loss_eps, self.config.loss_reduction)
        # Gradients of the processes are averaged, which is right for a mean; of sums they are to be added
        share = self.processes.count if self.config.loss_reduction == "sum" else 1
        self.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        self._update()
        return float(loss.detach())

    def _update(self) -> None:
        """One step of the optimiser, unless a gradient is not finite: that would end in weights that are not."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf)
        if norm.isfinite():
            self.skipped = 0
            self.scaler.step(self.optimizer)
            _average(self.ema, self.model, min(self.config.ema_decay, (1 + self.iteration) / (10 + self.iteration)))
        else:
            self.skipped += 1
            if not self.scaler.is_enabled():  # which overflows now and then, and lowers its scale
                logger.warning("iteration %d skipped: its gradient is not finite", self.iteration + 1)
        if self.skipped == MAX_SKIPPED:
            raise ValueError(
                f"no finite gradient in {MAX_SKIPPED} iterations up to {self.iteration + 1}: go on from an earlier checkpoint "
                f"(--init) with a lower train.lr (now {self.config.lr}) or train.dcn_lr_mul (now {self.config.dcn_lr_mul})"
            )
        self.scaler.update()

    def _due(self, every: int) -> bool:
        return self.iteration % every == 0 or self.iteration == self.config.iterations

    def _stop_agreed(self) -> bool:
        """Whether to stop now: all processes together, or those that go on would wait for the others for ever."""
        if self.processes.count == 1:
            return self.stop_asked
        asked = torch.tensor(float(self.stop_asked), device=self.device)
        distributed.all_reduce(asked, distributed.ReduceOp.MAX)
        return bool(asked)

    def _validate(self, progress: Progress) -> None:
        if self.validation is None or not self.processes.is_first:
            return
        value, pictures = self.validation(self.ema)
        progress.validated(self.iteration, value, pictures)
        if value > self.best:
            self.best = value
            self._save_model("best.safetensors", validation_psnr_y=value)

    def _save(self) -> None:
        if not self.processes.is_first:
            return
        parts: dict[str, Any] = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer, "scaler": self.scaler}
        state = {name: part.state_dict() for name, part in parts.items()}
        numbers = {"iteration": self.iteration, "best": self.best, "record": self._record()}
        save_state(self.output / "last.pt", {**state, **numbers})
        self._save_model("last.safetensors")

    def _save_model(self, name: str, **figures: float) -> None:
        record = {**self._record(), "iteration": self.iteration, **figures}
        # Models are passed on: they tell which checkpoint they began from, and not where it lay
        record["preset"]["train"]["init"] = Path(self.config.init).name
        save_model(self.output / name, self.ema, record, PRECISIONS[self.config.store])

    def _record(self) -> dict[str, Any]:
        """What the weights come from."""
        return {"preset": self.preset.as_dict(), "data": self.data.digest}


def _optimizer(model: EDVR, preset: Preset) -> torch.optim.Adam:
    """Adam; what comes before the enlargement, and the convolutions that predict offsets, have learning rates of their own."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_body = 1.0 if name.startswith(ENLARGEMENT) else preset.train.body_lr_mul
        predicts_offsets = preset.train.dcn_lr_mul if "conv_offset" in name else 1.0
        groups.setdefault(in_body * predicts_offsets, []).append(parameter)
    return torch.optim.Adam(
        [{"params": parameters, "lr_mul": mul} for mul, parameters in groups.items()], preset.train.lr, preset.train.betas
    )


def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    for average, value in zip(ema.parameters(), model.parameters(), strict=True):
        average.lerp_(value.detach(), 1 - decay)


def _start_worker(_: int) -> None:
    """Workers leave the answer to signals to the process that saves, and the cores to those that compute."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@contextlib.contextmanager
def _signals_stop(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM ask for a stop after the present iteration; a second one has its usual effect."""

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        trainer.stop_asked = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Numbers of reporting and saving may change; what the weights come from may not."""
    if before["data"] != now["data"]:
        raise ValueError("--resume goes on with the same data only, and files changed since; begin anew with --init")
    for table in ("network", "data", "degradation", "train"):
        old, new = before["preset"][table], now["preset"][table]
        if table != "train":
            changed = [] if old == new else [table]
        else:
            changed = [f"train.{key}" for key in old if old[key] != new[key] and key not in REPORTING]
        if changed:
            changes = ", ".join(changed)
            raise ValueError(f"--resume goes on with the same preset only, and {changes} changed; begin anew with --init")
