"""Resumes a training: reads its settings from its state, and checks which ones may differ now."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vsedvr.train.preset import Preset, change_tables, drop_unknown, parse_preset

__all__ = ["Places", "check_unchanged", "recorded_places", "recorded_preset"]

MAY_CHANGE = {f"train.{name}" for name in ("iterations", "periods", "restart_weights", "store")} | {
    f"train.{name}" for name in ("log_every", "valid_every", "save_every", "workers")
}
"""Settings that may change when a training is resumed; all others affect the next iterations."""

logger = logging.getLogger("vsedvr")


class Places(NamedTuple):
    """Folders with the data of a training. They may be moved, as long as their content stays the same."""

    root: Path
    """Folder that contains the preset's folders."""
    valid: Path | None = None
    """Folder of clips for validation; None without validation."""
    valid_lq: Path | None = None
    """Folder of the same clips in low quality; None if the preset's degradations make it."""


def recorded_preset(state: dict[str, Any], changes: Sequence[str] = ()) -> Preset:
    """Returns the preset with which a training began, with changes.

    Args:
        state: state of the training, see state.load_state.
        changes: settings as "table.key=value", as read_preset takes them.

    Raises:
        ValueError: for changes that make no sense or are not allowed (see check_unchanged).
    """
    tables, unknown = drop_unknown(state["record"]["preset"])
    if unknown:
        logger.warning("settings that this version of vsedvr does not know are left out: %s", ", ".join(unknown))
    preset = parse_preset(change_tables(tables, changes))
    check_unchanged(state, preset)
    return preset


def recorded_places(state: dict[str, Any]) -> Places | None:
    """Returns the folders with the data; None if an older version of vsedvr did not record them."""
    places = state.get("places")
    return None if places is None else Places(*(path and Path(path) for path in places))


def check_unchanged(state: dict[str, Any], preset: Preset) -> None:
    """Checks that a training can be resumed with a preset.

    Raises:
        ValueError: if settings differ that affect the next iterations; the message has both values of each.
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
    """Yields every setting with its name as --set takes it. A second step of the same kind gets a number."""
    tables = preset.as_dict()
    for table in ("network", "data", "train"):
        for key, value in tables[table].items():
            if (table, key) != ("train", "init"):  # used only at the start
                yield f"{table}.{key}", value
    for steps, prefix in (("degradation", ""), ("gt_degradation", "gt_")):
        kinds = [step["kind"] for step in tables[steps]]
        for n, step in enumerate(tables[steps]):
            again = kinds[:n].count(step["kind"])
            for key, value in step.items():
                yield f"{prefix}{step['kind']}{f' {again + 1}' if again else ''}.{key}", value
