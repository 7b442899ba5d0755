"""Presets: TOML files that configure a whole training."""

import copy
import dataclasses
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from vsedvr.model import EDVRConfig
from vsedvr.train.blur import MotionBlur
from vsedvr.train.degradation import KINDS, Degradation
from vsedvr.train.settings import DataConfig, TrainConfig

__all__ = [
    "Preset",
    "change_tables",
    "drop_unknown",
    "parse_preset",
    "preset_names",
    "read_preset",
]

FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    """The configuration of a training."""

    name: str
    network: EDVRConfig
    data: DataConfig = field(default_factory=DataConfig)
    degradation: tuple[Degradation, ...] = ()
    gt_degradation: tuple[Degradation, ...] = ()
    """Degradations of the ground truth itself, for a share of the windows (data.gt_degradation_share). Masters of films have
    grain and traces of compression as well: from such windows a network learns that these are to stay. Clips for validation
    are left as they are."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        multiple = self.network.size_multiple * self.network.scale
        if self.data.patch % multiple:
            raise ValueError(f"data.patch must be a multiple of {multiple} for this network, got {self.data.patch}")
        if (self.data.stills or not self.data.lq) and not self.degradation:
            without = "no [[degradation]] for data.stills" if self.data.lq else "neither data.lq nor a [[degradation]]"
            raise ValueError(f"{self.name} has {without}: there is nothing to restore")
        reduction = _reduction(self.degradation)
        if self.degradation and reduction != self.network.scale:
            raise ValueError(
                f"the degradation reduces {reduction} times, but the network enlarges {self.network.scale} times "
                "(network.scale)"
            )
        self._check_gt_degradation()

    def _check_gt_degradation(self) -> None:
        if self.gt_degradation and self.data.lq:
            raise ValueError("[[gt_degradation]] cannot go with data.lq, which is not made from gt")
        if self.gt_degradation and any(isinstance(step, MotionBlur) for step in self.degradation):
            raise ValueError("[[gt_degradation]] cannot go with motion_blur, which would average the grain of the ground truth")
        if _reduction(self.gt_degradation) != 1:
            raise ValueError("[[gt_degradation]] must keep the size: the ground truth is what the network restores")

    def as_dict(self) -> dict[str, Any]:
        """Returns the tables from which parse_preset makes this preset, for the record in checkpoints."""
        tables = {name: dataclasses.asdict(getattr(self, name)) for name in TABLES}
        return {"name": self.name, **tables, **{name: _step_tables(getattr(self, name)) for name in STEPS}}


def _reduction(steps: Sequence[Degradation]) -> int:
    """Returns how many times smaller the degradations make a window."""
    return math.prod(getattr(step, "scale", 1) for step in steps)


def _step_tables(steps: Sequence[Degradation]) -> list[dict[str, Any]]:
    """Returns the tables of an array of degradations, as a preset's file has them."""
    kinds = {step: kind for kind, step in KINDS.items()}
    return [{"kind": kinds[type(step)], **dataclasses.asdict(step)} for step in steps]  # type: ignore[call-overload]


TABLES: dict[str, Any] = {"network": EDVRConfig, "data": DataConfig, "train": TrainConfig}
"""Classes for the tables in a preset's file, except STEPS, by the tables' names."""
STEPS = ("degradation", "gt_degradation")
"""Names of a preset's arrays of degradations."""


def preset_names() -> list[str]:
    """Returns the names of the presets in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_preset(name_or_path: str, changes: Sequence[str] = ()) -> Preset:
    """Reads a preset of the package by name, or any TOML file by path.

    Args:
        name_or_path: one of preset_names, or a path.
        changes: settings as "table.key=value" in TOML's notation, which replace those in the file. For a degradation the table
            is its kind, as in "motion_blur.exposure=[0.75, 1]"; for one of the ground truth with gt_ before it, as in
            "gt_grain.luma=[0, 4]".

    Raises:
        FileNotFoundError: if there is no such preset.
        ValueError: for keys that do not exist and values that make no sense; the message names them.
    """
    path = FOLDER / f"{name_or_path}.toml" if name_or_path in preset_names() else Path(name_or_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no preset {name_or_path!r}; there are {', '.join(preset_names())}, and paths of .toml files")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return parse_preset(change_tables({"name": path.stem, **tables}, changes))


def change_tables(tables: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Returns a copy of a preset's tables with changed settings.

    Args:
        tables: tables of the preset.
        changes: changes, as read_preset takes them.

    Raises:
        ValueError: if a change is malformed, or names no table of the preset.
    """
    changed = copy.deepcopy(tables)
    for change in changes:
        _apply(changed, change)
    return changed


def drop_unknown(tables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Removes settings that this version does not have from the tables that another version recorded.

    Older versions had network.hr_in instead of network.scale: true is scale 1, false is scale 4.

    Returns:
        The remaining tables, and the names of the removed settings.
    """
    if "hr_in" in (network := tables.get("network", {})):
        rest = {key: value for key, value in network.items() if key != "hr_in"}
        tables = {**tables, "network": {**rest, "scale": 1 if network["hr_in"] else 4}}
    kept = {name: value for name, value in tables.items() if name in {"name", *STEPS, *TABLES}}
    unknown = sorted(tables.keys() - kept.keys())

    def known(table: dict[str, Any], names: set[str], where: str) -> dict[str, Any]:
        unknown.extend(f"{where}.{key}" for key in sorted(table.keys() - names))
        return {key: value for key, value in table.items() if key in names}

    for name in TABLES.keys() & kept.keys():
        kept[name] = known(kept[name], _names(TABLES[name]), name)
    for name in STEPS:
        kept[name] = [
            known(step, {"kind", *_names(KINDS[step["kind"]])}, step["kind"]) if step["kind"] in KINDS else step
            for step in kept.get(name, [])
        ]
    return kept, unknown


def parse_preset(tables: dict[str, Any]) -> Preset:
    """Makes a preset from the tables of its TOML file and its name.

    Raises:
        ValueError: for keys that do not exist and values that make no sense; the message names them.
    """
    _check_keys(tables, {"name", *STEPS, *TABLES}, "a preset")
    parsed = {key: _parse(tables.get(key, {}), type, key) for key, type in TABLES.items()}
    parsed |= {name: _parse_steps(tables.get(name, []), name) for name in STEPS}
    return Preset(name=_convert(tables["name"], str, "name"), **parsed)


def _parse_steps(steps: Any, name: str) -> tuple[Degradation, ...]:
    if not isinstance(steps, list):
        raise ValueError(f"{name} must be an array of tables, [[{name}]], got {steps!r}")
    return tuple(_parse_step(step, name) for step in steps)


def _parse_step(step: Any, where: str) -> Degradation:
    kind = step.get("kind") if isinstance(step, dict) else None
    if kind not in KINDS:
        raise ValueError(f"{where}.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return _parse({key: value for key, value in step.items() if key != "kind"}, KINDS[kind], f"{where} {kind}")


def _parse(table: Any, type: Any, where: str) -> Any:
    """Makes a dataclass from a table of TOML values."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table, [{where}], got {table!r}")
    hints = get_type_hints(type)
    _check_keys(table, _names(type), where)
    return type(**{key: _convert(value, hints[key], f"{where}.{key}") for key, value in table.items()})


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Converts a TOML value to the type of a field: arrays become tuples, and whole numbers floats if the field is a float."""
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


def _names(type: Any) -> set[str]:
    """Returns the names of a dataclass's fields."""
    return {entry.name for entry in fields(type)}


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
    """Returns the tables that a change to the table `where` affects: one of the preset's, or every degradation of this kind."""
    name, kind = ("gt_degradation", where[3:]) if where.startswith("gt_") else ("degradation", where)
    if kind not in KINDS:
        return [tables.setdefault(where, {})]
    steps = tables.get(name, [])
    kinds = [step.get("kind") if isinstance(step, dict) else None for step in steps] if isinstance(steps, list) else []
    if kind not in kinds:
        raise ValueError(f"no [[{name}]] of this preset is of the kind {kind}; there are {kinds}")
    return [step for step, other in zip(steps, kinds, strict=True) if other == kind]
