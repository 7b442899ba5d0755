"""Findings for `vsedvr check`: the devices a network can run on, their free memory, and the tiles that fit into it."""

import torch

from vsedvr.finding import Finding
from vsedvr.infer.build import memory_budget
from vsedvr.infer.device import PRECISIONS, choose_device, choose_precision
from vsedvr.infer.find_gpu import gpu, no_gpu
from vsedvr.infer.memory import choose_tiling, free_bytes
from vsedvr.infer.tile import Tiling, default_tile_pad
from vsedvr.model import EDVRConfig
from vsedvr.ops.findings import processor

__all__ = ["device_name", "devices", "gpus", "memory", "runs_on", "tiles"]


def devices() -> list[torch.device]:
    """Lists all devices that a network can run on, the default device first and the CPU last."""
    return [choose_device(index) for index in (*range(torch.cuda.device_count()), -1)]


def device_name(device: torch.device) -> str:
    """Product name of a device, such as that of the graphics card or the processor."""
    return processor() if device.type == "cpu" else torch.cuda.get_device_name(device)


def gpus() -> list[Finding]:
    """One finding for every GPU, or a single one that says why there is none."""
    count = torch.cuda.device_count()
    return [gpu(index) for index in range(count)] if count else [no_gpu()]


def runs_on() -> Finding:
    """Tells on which device and in which precision the filter computes by default."""
    device = choose_device(None)
    return Finding("runs on", f"{device} in {_precision(device, False)}, RGBS clips in {_precision(device, True)}")


def memory(device: torch.device) -> Finding:
    """Free memory of a device in GiB, of which the filter takes up to half; advises small tiles below 1 GiB."""
    free = free_bytes(device)
    name = f"memory of {device}"
    text = f"{free / 2**30:.1f} GiB free"
    if free < 1 << 30:
        return Finding(name, text, "end other programs, or restore in small tiles: tile=(128, 128)")
    return Finding(name, text)


def tiles(configs: dict[str, EDVRConfig], device: torch.device, size: tuple[int, int], reserved_bytes: int = 0) -> Finding:
    """Says whether pictures of a size would be restored whole or in tiles, and how large the tiles would be.

    Args:
        configs: configurations of networks, by the names of their models.
        device: where the networks run, in the default precision for 8-bit clips.
        size: (width, height) of the pictures in pixels.
        reserved_bytes: bytes of free memory that something else will take (see build_engine).
    """
    width, height = size
    precision = _precision(device, False)
    ways: dict[str, list[str]] = {}
    for name, config in configs.items():
        whole = Tiling(height, width, (0, 0), default_tile_pad(config), config)
        tiling = choose_tiling(whole, PRECISIONS[precision], device, memory_budget(device, reserved_bytes))
        way = "whole" if len(tiling.tiles) == 1 else f"in tiles of {tiling.tile[0]}x{tiling.tile[1]}"
        ways.setdefault(way, []).append(name)
    text = "; ".join(f"{way}: {', '.join(names)}" for way, names in ways.items())
    return Finding(f"{width}x{height} on {device}", f"{precision}, {text}")


def _precision(device: torch.device, exact_input: bool) -> str:
    dtype = choose_precision(None, device, exact_input)
    return next(name for name, value in PRECISIONS.items() if value == dtype)
