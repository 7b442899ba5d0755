"""Settings of degradations that are drawn for each window, and the checks of their limits."""

import math

__all__ = ["Limits", "check_least", "check_limits"]

Limits = tuple[float, float]
"""Smallest and largest value of a setting; a value in between is drawn for each window."""


def check_least(what: str, value: float, least: float) -> None:
    """Checks that a setting is a finite number of at least `least`.

    Raises:
        ValueError: if it is not; `what` names the setting.
    """
    if not least <= value < math.inf:
        raise ValueError(f"{what} must be at least {least}, got {value}")


def check_limits(what: str, limits: Limits, most: float = math.inf) -> None:
    """Checks that limits rise from at least 0 to at most `most`, which are finite.

    Raises:
        ValueError: if they do not; `what` names the setting.
    """
    if not (0 <= limits[0] <= limits[1] <= most and math.isfinite(limits[1])):
        raise ValueError(f"{what} must rise from at least 0{f' to at most {most}' if most < math.inf else ''}, got {limits}")
