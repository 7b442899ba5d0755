"""The settings of a training: the tables [data] and [train] of a preset."""

import math
from dataclasses import dataclass

from vsedvr.train.loss import COLOUR_WEIGHT, LOSSES

__all__ = ["DataConfig", "TrainConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Sources and form of the training windows. Paths are relative to the root folder that the command line gives."""

    gt: tuple[str, ...] = ()
    """Folders of clips, which are searched recursively for video files and folders of frames."""
    lq: tuple[str, ...] = ()
    """For each folder in gt, the folder with the same clips in low quality. If empty, the preset's degradations make lq."""
    stills: tuple[str, ...] = ()
    """Folders of pictures, from which clips with synthetic motion are made."""
    stills_share: float = 0.5
    """Share of windows that come from stills, if there are both stills and clips."""
    speed: tuple[float, float] = (0.1, 12.0)
    """Slowest and fastest motion over stills, in pixels per frame (see synthesis.moving_still)."""
    names: str = ""
    """Text file below the root folder that lists the clips to use, each line a path below the gt folder."""
    exclude: tuple[str, ...] = ()
    """Clips and stills to leave out, as paths below the root folder."""
    patch: int = 256
    """Height and width of a gt patch in pixels."""
    interval: tuple[int, ...] = (1,)
    """Possible distances in frames between neighbours in a window; each window uses one of them at random."""
    reverse: bool = False
    """Whether half of the windows run backwards."""
    reduce: float = 1.0
    """Windows are first reduced by a random factor up to this one, which makes sharp gt from soft video."""
    contrast: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor for the contrast about a window's mean brightness, drawn logarithmically; applied before the
    degradations. Networks overshoot where the contrast is higher than any that they learned from."""
    clean_share: float = 0.0
    """Share of the windows that are only reduced by bicubic interpolation, if the network enlarges, and not degraded otherwise.
    From them a network learns to leave good sources as they are."""
    gt_degradation_share: float = 1.0
    """Share of the windows whose ground truth itself goes through the preset's [[gt_degradation]], if it has any."""
    max_frames: int = 2000
    """Maximum number of frames used from a video file, counted from its beginning."""

    def __post_init__(self) -> None:
        if self.lq and len(self.lq) != len(self.gt):
            raise ValueError(f"data.lq must have one folder for each of data.gt, got {len(self.lq)} for {len(self.gt)}")
        for name in ("stills_share", "clean_share", "gt_degradation_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} must be within 0..1, got {getattr(self, name)}")
        if not 0 < self.speed[0] <= self.speed[1] < math.inf:
            raise ValueError(f"data.speed must rise from above 0, got {self.speed}")
        if not self.interval or min(self.interval) < 1:
            raise ValueError(f"data.interval must be numbers from 1 on, got {self.interval}")
        for name in ("patch", "max_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.contrast[0] <= self.contrast[1] < math.inf:
            raise ValueError(f"data.contrast must rise from above 0, got {self.contrast}")
        if not 1 <= self.reduce < math.inf:
            raise ValueError(f"data.reduce must be at least 1, got {self.reduce}")
        if self.lq and self.reduce != 1:
            raise ValueError("data.reduce cannot go with data.lq: the pair would no longer belong together")
        for name, neutral in (("contrast", (1, 1)), ("clean_share", 0)):
            if self.lq and getattr(self, name) != neutral:
                raise ValueError(f"data.{name} cannot go with data.lq, which is not made from gt")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the optimisation. Numbers of iterations count steps of the optimiser."""

    iterations: int = 600_000
    """Total number of iterations."""
    batch: int = 32
    """Number of windows in one step, over all processes together."""
    lr: float = 4e-4
    """Learning rate at the start of a period."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of Adam."""
    periods: tuple[int, ...] = (600_000,)
    """Lengths of the cosine periods, in iterations."""
    restart_weights: tuple[float, ...] = (1,)
    """Factor of lr at the beginning of each period."""
    eta_min: float = 1e-7
    """Learning rate at the end of a period."""
    dcn_lr_mul: float = 1.0
    """Factor of the learning rate for convolutions that predict offsets; lower is more stable."""
    body_lr_mul: float = 1.0
    """Factor of the learning rate for all layers before the enlargement (upconv1 to conv_last)."""
    loss: str = "charbonnier"
    """Name of the loss: charbonnier (of R, G and B, as in the paper), luma or luma_psnr (see loss.py)."""
    loss_reduction: str = "sum"
    """Reduction of the loss: sum, as for the published networks, or mean, over samples (with luma_psnr over pictures)."""
    loss_eps: float = 1e-3
    """Charbonnier's eps, which is squared under the root: 1e-3 in the paper and its authors' code, 1e-6 in BasicSR. With
    luma_psnr it is the error below which a smaller one hardly changes the loss."""
    colour_weight: float = COLOUR_WEIGHT
    """Weight of the error of the colours (R, G and B minus luma) with luma and luma_psnr; the luma's has weight 1."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is the result of the training; 0 turns averaging off. After n
    iterations it is at most (1 + n) / (10 + n), so that the start is soon forgotten."""
    grad_clip: float = 0.0
    """Maximum norm of the gradient; 0 for no limit."""
    tsa_warmup: int = 0
    """Number of iterations at the start that train only the fusion, for a network that begins from one without TSA."""
    init: str = ""
    """Checkpoint to begin from. It may be shallower, narrower, with fewer frames or without TSA (see initialize.initialize)."""
    carry_pixels: bool = False
    """Whether a network that does not enlarge begins with the same filter for every pixel (see carry.carry_pixels). It has no
    effect if init is given."""
    precision: str = "fp32"
    """Precision of the training: fp32, or bf16 or fp16 with PyTorch's autocast."""
    store: str = "fp32"
    """Precision of the weights in the finished model file: fp32 or fp16."""
    seed: int = 0
    """Seed of everything random: first weights and samples."""
    workers: int = 4
    """Number of processes that prepare data, for each training process; 0 prepares it in the training process itself."""
    log_every: int = 100
    """Number of iterations between lines of the log."""
    valid_every: int = 5000
    """Number of iterations between validations."""
    save_every: int = 5000
    """Number of iterations between saves of the state. It is also saved before each validation."""

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "log_every", "valid_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"train.seed must be at least 0, got {self.seed}")
        if not self.periods or min(self.periods) < 1:
            raise ValueError(f"train.periods must be numbers from 1 on, got {self.periods}")
        for name in ("eta_min", "dcn_lr_mul", "body_lr_mul", "colour_weight", "grad_clip", "tsa_warmup", "workers"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"train.{name} must be at least 0 and finite, got {getattr(self, name)}")
        for name in ("lr", "loss_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"train.{name} must be above 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be at least 0 and below 1, got {self.ema_decay}")
        choices = {
            "loss": tuple(LOSSES),
            "loss_reduction": ("sum", "mean"),
            "precision": ("fp32", "bf16", "fp16"),
            "store": ("fp32", "fp16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"train.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(f"train.periods {self.periods} and train.restart_weights {self.restart_weights} differ in length")
        if sum(self.periods) < self.iterations:
            raise ValueError(
                f"train.periods end at iteration {sum(self.periods)}, before train.iterations {self.iterations}: give "
                "train.periods another period, and train.restart_weights the share of train.lr that it begins with"
            )
