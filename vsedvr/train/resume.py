"""A training that goes on: what its state says about it, and what may be different now."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vsedvr.train.preset import Preset, change_tables, drop_unknown, parse_preset

__all__ = ["Places", "check_unchanged", "recorded_places", "recorded_preset"]

MAY_CHANGE = {f"train.{name}" for name in ("iterations", "periods", "restart_weights", "store")} | {
    f"train.{name}" for name in ("log_every", "valid_every", "save_every", "workers")
}
"""How long to train and what to write on the way. On all other settings the next iteration depends."""

logger = logging.getLogger("vsedvr")


class Places(NamedTuple):
    """Where the data of a training lies. The folders may move as long as what is in them stays the same."""

    root: Path
    """Folder below which the preset's folders lie."""
    valid: Path | None = None
    """Clips for validation."""
    valid_lq: Path | None = None
    """The same clips in low quality; None where the preset's degradations make it."""


def recorded_preset(state: dict[str, Any], changes: Sequence[str] = ()) -> Preset:
    """The preset that a training began with, and changes to it.

    Args:
        state: of the training, see state.load_state.
        changes: "table.key=value" as read_preset takes them.

    Raises:
        ValueError: for changes that make no sense or may not be (see check_unchanged).
    """
    tables, unknown = drop_unknown(state["record"]["preset"])
    if unknown:
        logger.warning("settings that this version of vsedvr does not know are left out: %s", ", ".join(unknown))
    preset = parse_preset(change_tables(tables, changes))
    check_unchanged(state, preset)
    return preset


def recorded_places(state: dict[str, Any]) -> Places | None:
    """Where the data lay; None where an older version of vsedvr did not record it."""
    places = state.get("places")
    return None if places is None else Places(*(path and Path(path) for path in places))


def check_unchanged(state: dict[str, Any], preset: Preset) -> None:
    """Checks that a training can go on with a preset.

    Raises:
        ValueError: if settings differ on which the next iteration depends; the message has both values of each.
    """
    before = dict(_settings(parse_preset(drop_unknown(state["record"]["preset"])[0])))
    now = dict(_settings(preset))
    different = [key for key in {**before, **now} if key not in MAY_CHANGE and before.get(key) != now.get(key)]
    if different:
        changes = "; ".join(f"{key} is {before.get(key)!r} and cannot become {now.get(key)!r}" for key in different)
        raise ValueError(
            f"in a training that goes on {changes}: begin a new one in another --output, with --init from this one"
        )


def _settings(preset: Preset) -> Iterator[tuple[str, Any]]:
    """Every setting by the name that --set has for it; a second step of the same kind has a number."""
    tables = preset.as_dict()
    for table in ("network", "data", "train"):
        for key, value in tables[table].items():
            if (table, key) != ("train", "init"):  # needed at the start only
                yield f"{table}.{key}", value
    kinds = [step["kind"] for step in tables["degradation"]]
    for n, step in enumerate(tables["degradation"]):
        again = kinds[:n].count(step["kind"])
        for key, value in step.items():
            yield f"{step['kind']}{f' {again + 1}' if again else ''}.{key}", value
