"""Presets: what a training consists of, as a TOML file."""

import dataclasses
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from vsedvr.model import EDVRConfig
from vsedvr.train.degradation import KINDS, Degradation
from vsedvr.train.loss import LOSSES

__all__ = ["DataConfig", "Preset", "TrainConfig", "preset_names", "read_preset"]

FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class DataConfig:
    """Where windows come from. Paths are below the root folder that the command line gives."""

    gt: tuple[str, ...] = ()
    """Folders of clips: folders of frames and video files, however deep."""
    lq: tuple[str, ...] = ()
    """For each folder of gt the one with the same clips in low quality; without it the preset's degradations make lq."""
    stills: tuple[str, ...] = ()
    """Folders of pictures, each of which becomes clips under synthetic motion."""
    stills_share: float = 0.5
    """Share of the windows that come from stills, where there are both."""
    speed: tuple[float, float] = (0.1, 12.0)
    """Smallest and largest of the motion over stills, in pixels a frame (see synthesis.moving_still)."""
    names: str = ""
    """A text file below the root folder with the clips to take: on each line a path below the gt folder."""
    exclude: tuple[str, ...] = ()
    """Clips and stills to leave out, by their path below the root folder."""
    patch: int = 256
    """Height and width of a gt patch in pixels."""
    interval: tuple[int, ...] = (1,)
    """Frames from one frame of the window to the next, one of these at random."""
    reverse: bool = False
    """Half of the windows run backwards."""
    reduce: float = 1.0
    """Windows are reduced by up to this factor before all else, at random: sharper gt from soft video."""
    contrast: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor for a window's contrast about its mean brightness, before it is degraded; drawn
    logarithmically. Networks do too much where contrast is higher than any that they learned from."""
    max_frames: int = 2000
    """Frames taken of a video file, from its beginning."""

    def __post_init__(self) -> None:
        if self.lq and len(self.lq) != len(self.gt):
            raise ValueError(f"data.lq must have one folder for each of data.gt, got {len(self.lq)} for {len(self.gt)}")
        if not 0 <= self.stills_share <= 1:
            raise ValueError(f"data.stills_share must be within 0..1, got {self.stills_share}")
        if not 0 < self.speed[0] <= self.speed[1] < math.inf:
            raise ValueError(f"data.speed must rise from above 0, got {self.speed}")
        if not self.interval or min(self.interval) < 1:
            raise ValueError(f"data.interval must be numbers from 1 on, got {self.interval}")
        for name in ("patch", "max_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.contrast[0] <= self.contrast[1] < math.inf:
            raise ValueError(f"data.contrast must rise from above 0, got {self.contrast}")
        if self.reduce < 1:
            raise ValueError(f"data.reduce must be at least 1, got {self.reduce}")
        if self.lq and self.reduce != 1:
            raise ValueError("data.reduce cannot go with data.lq: the pair would no longer belong together")
        if self.lq and self.contrast != (1, 1):
            raise ValueError("data.contrast cannot go with data.lq, which is not made from gt")


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation. Numbers of iterations count steps of the optimiser."""

    iterations: int = 600_000
    batch: int = 32
    """Windows in one step, over all processes together."""
    lr: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.99)
    periods: tuple[int, ...] = (600_000,)
    """Lengths of the cosine periods, in iterations."""
    restart_weights: tuple[float, ...] = (1,)
    """Share of lr that each period begins with."""
    eta_min: float = 1e-7
    """Learning rate at the end of a period."""
    dcn_lr_mul: float = 1.0
    """Share of the learning rate for the convolutions that predict offsets: lower is stabler."""
    body_lr_mul: float = 1.0
    """Share of the learning rate for all that comes before the enlargement (upconv1 to conv_last)."""
    loss: str = "charbonnier"
    """charbonnier, of R, G and B as in the paper; luma or luma_psnr, mostly of that (see loss)."""
    loss_reduction: str = "sum"
    """Over all samples of the batch (of luma_psnr, over its pictures): sum, as the published networks were trained, or mean."""
    loss_eps: float = 1e-3
    """Charbonnier's eps, whose square stands under the root; of luma_psnr the error below which hardly anything counts."""
    ema_decay: float = 0.999
    """Of a moving average of the weights; 0 is none; at most (1 + n) / (10 + n) after n iterations, soon without the start."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 is no limit."""
    tsa_warmup: int = 0
    """First iterations in which only the fusion is trained, in a network that began from one without TSA."""
    init: str = ""
    """A checkpoint to begin from, shallower, narrower, of fewer frames or without TSA too (see initialize.initialize)."""
    carry_pixels: bool = False
    """Begin a network that does not enlarge so that single pixels get through it (see carry.carry_pixels); not with init."""
    precision: str = "fp32"
    """fp32, or bf16 or fp16 by autocast."""
    store: str = "fp32"
    """Precision of the weights in the finished model file: fp32 or fp16."""
    seed: int = 0
    workers: int = 4
    """Processes that prepare data, for each training process."""
    log_every: int = 100
    valid_every: int = 5000
    save_every: int = 5000

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "log_every", "valid_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("eta_min", "dcn_lr_mul", "body_lr_mul", "grad_clip", "tsa_warmup", "workers"):
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
            raise ValueError(f"train.periods end at iteration {sum(self.periods)}, before train.iterations {self.iterations}")


@dataclass(frozen=True)
class Preset:
    """A whole training."""

    name: str
    network: EDVRConfig
    data: DataConfig = field(default_factory=DataConfig)
    degradation: tuple[Degradation, ...] = ()
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        multiple = self.network.size_multiple * self.network.scale
        if self.data.patch % multiple:
            raise ValueError(f"data.patch must be a multiple of {multiple} for this network, got {self.data.patch}")
        if (self.data.stills or not self.data.lq) and not self.degradation:
            without = "no [[degradation]] for data.stills" if self.data.lq else "neither data.lq nor a [[degradation]]"
            raise ValueError(f"{self.name} has {without}: there is nothing to restore")
        reduction = math.prod(getattr(step, "scale", 1) for step in self.degradation)
        if self.degradation and reduction != self.network.scale:
            raise ValueError(
                f"the degradation reduces {reduction} times, but the network enlarges {self.network.scale} times "
                f"(network.hr_in is {str(self.network.hr_in).lower()})"
            )

    def as_dict(self) -> dict[str, Any]:
        """As read_preset takes it; for the record in checkpoints."""
        kinds = {step: kind for kind, step in KINDS.items()}
        tables = {name: dataclasses.asdict(getattr(self, name)) for name in ("network", "data", "train")}
        steps = [{"kind": kinds[type(step)], **dataclasses.asdict(step)} for step in self.degradation]  # type: ignore[call-overload]
        return {"name": self.name, **tables, "degradation": steps}


def preset_names() -> list[str]:
    """The presets inside the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_preset(name_or_path: str, changes: Sequence[str] = ()) -> Preset:
    """A preset of the package by its name, or any TOML file by its path.

    Args:
        name_or_path: see preset_names.
        changes: "table.key=value" in TOML's spelling, each in place of what the file says; of a degradation the table is
            its kind, as in motion_blur.exposure=[0.75, 1].

    Raises:
        FileNotFoundError: if there is no such preset.
        ValueError: for keys that do not exist and values that make no sense; the message names them.
    """
    path = FOLDER / f"{name_or_path}.toml" if name_or_path in preset_names() else Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"no preset {name_or_path!r}; there are {', '.join(preset_names())}, and paths of .toml files")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        for change in changes:
            _apply(tables, change)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    return parse_preset({"name": path.stem, **tables})


def parse_preset(tables: dict[str, Any]) -> Preset:
    """A preset from the tables of its TOML file and its name."""
    types: dict[str, Any] = {"network": EDVRConfig, "data": DataConfig, "train": TrainConfig}
    _check_keys(tables, {"name", "degradation", *types}, "a preset")
    steps = tables.get("degradation", [])
    if not isinstance(steps, list):
        raise ValueError(f"degradation must be an array of tables, [[degradation]], got {steps!r}")
    parsed = {key: _parse(tables.get(key, {}), type, key) for key, type in types.items()}
    return Preset(name=_convert(tables["name"], str, "name"), degradation=tuple(map(_parse_step, steps)), **parsed)


def _parse_step(step: Any) -> Degradation:
    kind = step.get("kind") if isinstance(step, dict) else None
    if kind not in KINDS:
        raise ValueError(f"degradation.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return _parse({key: value for key, value in step.items() if key != "kind"}, KINDS[kind], f"degradation {kind}")


def _parse(table: Any, type: Any, where: str) -> Any:
    """A dataclass from a table of TOML values."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table, [{where}], got {table!r}")
    hints = get_type_hints(type)
    _check_keys(table, {entry.name for entry in fields(type)}, where)
    return type(**{key: _convert(value, hints[key], f"{where}.{key}") for key, value in table.items()})


def _convert(value: Any, hint: Any, where: str) -> Any:
    """A TOML value as the type of a field: arrays become tuples, whole numbers floats where those are meant."""
    if get_origin(hint) is tuple:
        item, *rest = get_args(hint)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be an array of {item.__name__}, got {value!r}")
        hints = [item] * len(value) if rest == [...] else [item, *rest]
        if len(hints) != len(value):
            raise ValueError(f"{where} must have {len(hints)} values, got {value!r}")
        return tuple(_convert(v, h, where) for v, h in zip(value, hints, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint and type(value) not in get_args(hint):
        raise ValueError(f"{where} must be {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _check_keys(table: dict[str, Any], known: Any, where: str) -> None:
    unknown = sorted(table.keys() - set(known))
    if unknown:
        raise ValueError(f"{where} has no {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def _apply(tables: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    where, dot, name = key.strip().partition(".")
    places = _places(tables, where)
    if not (equals and dot) or not all(isinstance(place, dict) for place in places):
        raise ValueError(
            "a change is written table.key=value, with network, data, train or the kind of a degradation as the table, "
            f"got {change!r}"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word on the command line is a string
    for place in places:
        place[name.strip()] = parsed


def _places(tables: dict[str, Any], where: str) -> list[Any]:
    """The tables that a change is for: one of the preset's, or every degradation of a kind."""
    if where not in KINDS:
        return [tables.setdefault(where, {})]
    steps = tables.get("degradation", [])
    kinds = [step.get("kind") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
    if where not in kinds:
        raise ValueError(f"no [[degradation]] of this preset is of the kind {where}; there are {kinds}")
    return [step for step, kind in zip(steps, kinds, strict=True) if kind == where]
