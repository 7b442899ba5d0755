"""The devices that a filter works with: one, or several cards whose frames take turns.

Frame n is restored on device n modulo their number. Then a few requests at a time keep all devices busy, and which device
restores a frame depends on its number alone. The price is that each device computes the features of every frame, a twelfth of
the work of EDVR-M. Longer runs of frames on each device would save that, but need as many times more requests at a time.
"""

import logging
import re
from collections.abc import Sequence

import torch

from vsedvr.filter.arguments import to_number
from vsedvr.infer import Engine, choose_device

__all__ = ["to_devices", "to_streams", "warn_of_differences"]

logger = logging.getLogger("vsedvr")


def to_devices(value: object) -> tuple[torch.device, ...]:
    """Returns the devices for the argument `device_index`: a number, several numbers, a string such as "0,1", or None.

    Raises:
        ValueError: if there is no such device, or GPUs and the CPU are mixed.
    """
    if isinstance(value, str) and "," in value:
        value = [part for part in re.split(r"[\s,()\[\]]+", value) if part]
    if not isinstance(value, list | tuple):
        return (choose_device(None if value is None else to_number(value, "device_index")),)
    if not value:
        raise ValueError("device_index must be the number of a GPU, several such numbers, or -1 for the CPU, got none")
    devices = tuple(choose_device(to_number(number, "device_index")) for number in value)
    if len({device.type for device in devices}) > 1:
        raise ValueError(f"device_index must be GPUs alone or -1, the CPU, alone, got {list(value)}")
    return devices


def to_streams(value: object, devices: Sequence[torch.device]) -> int:
    """Returns the number of frames for each device at a time, for the argument `num_streams`.

    By default a GPU has 2: it works on one while the other is copied. A CPU has 1, because it does both itself.

    Raises:
        ValueError: if the value is not a whole number from 1 up.
    """
    if value is None:
        return 2 if devices[0].type == "cuda" else 1
    streams = to_number(value, "num_streams")
    if streams < 1:
        raise ValueError(f"num_streams must be at least 1, got {streams}")
    return streams


def warn_of_differences(engines: Sequence[Sequence[Engine]]) -> None:
    """Warns if the same frame would not have the same bits on all devices.

    Args:
        engines: for each stage, the engine of each device.
    """
    names = list(dict.fromkeys(_name(engine.device) for engine in engines[0]))
    if len(names) > 1:
        logger.warning(
            "device_index has different cards (%s): frames differ in the last bits by the card, and the slowest sets the pace",
            ", ".join(names),
        )
    if any(len({engine.tiling and engine.tiling.tile for engine in of_stage}) > 1 for of_stage in engines):
        logger.warning("the cards have different amounts of free memory, so their tiles differ; tile= makes them equal")


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
