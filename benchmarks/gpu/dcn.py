"""Compares the deformable convolution on a GPU with torchvision's.

Run as a module, it only checks its results, under compute-sanitizer.
"""

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain import plain_dcn
from benchmarks.timing import medians
from vsedvr import ops
from vsedvr.infer import PRECISIONS

__all__ = ["CHANNELS", "SIZES", "ceilings", "check_answers", "operator_row"]

CHANNELS = (64, 128)
SIZES = ((180, 320), (540, 960), (1080, 1920))
GROUPS, SLOPE = 8, 0.1
Operands = tuple[Tensor, Tensor, Tensor, Tensor]
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
"""Largest allowed error, relative to the result's root mean square."""


def operands(channels: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> Operands:
    """Makes random x, conv_offset_output, weight and bias in the network's shapes and types; offsets are about 2 pixels.

    Neighbouring offsets are independent of each other, which is the worst case for a cache.
    """
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = dtype, std: float = 1) -> Tensor:
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        tensor = torch.empty(shape, dtype=dtype, device=device, memory_format=layout)
        return tensor.normal_(0, std, generator=generator)

    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    return (
        normal(1, channels, height, width),
        normal(1, 27 * GROUPS, height, width, dtype=wide, std=2),
        normal(channels, channels, 3, 3, std=0.04),
        normal(channels),
    )


def check_answers(channels: int, device: torch.device) -> list[str]:
    """Compares the operator in each precision with float64 on the CPU, at a size that no tile of a kernel divides.

    Returns:
        A sentence for each thing that is wrong; none if all is well.
    """
    problems = []
    for precision, tolerance in TOLERANCES.items():
        given = operands(channels, 45, 70, PRECISIONS[precision], device)
        x, predicted, weight, bias = (tensor.cpu().double() for tensor in given)
        expected = ops.dcn(x, predicted, weight, bias, SLOPE)
        error = relative_error(ops.dcn(*given, SLOPE).cpu(), expected)
        if not error < tolerance:
            problems.append(f"operator, {channels} channels, {precision}: error {error:.1e}, at most {tolerance:.0e} expected")
    return problems


def operator_row(
    channels: int, height: int, width: int, device: torch.device, limits: dict[str, float], times: int, deadline: float
) -> dict[str, Any]:
    """Measures milliseconds of our operator and of torchvision's, and how near ours comes to the card's limits.

    Args:
        channels: of the input and of the output.
        height, width: size of the features.
        device: the GPU.
        limits: what `ceilings` found for it.
        times: repetitions, of which the median is taken.
        deadline: the time, on the clock of time.monotonic(), after which nothing is repeated.
    """
    seconds: dict[str, float] = {}
    for k, (precision, dtype) in enumerate(PRECISIONS.items()):
        until = time.monotonic() + (deadline - time.monotonic()) / (len(PRECISIONS) - k)
        try:
            seconds |= medians(runs_of(precision, operands(channels, height, width, dtype, device)), times, device, until)
        except torch.OutOfMemoryError:
            seconds[precision] = math.nan
    positions = height * width
    flop, nbytes = 2 * 9 * channels**2 * positions, 2 * (2 * channels + 27 * GROUPS) * positions
    return {
        "channels": channels,
        "size": f"{width}x{height}",
        "ms": {name: 1000 * value for name, value in seconds.items()},
        "ratio": seconds.get("torchvision fp16", math.nan) / seconds["fp16"],
        "share_of_matrix": flop / seconds["fp16"] / limits["matrix"],
        "share_of_copy": nbytes / seconds["fp16"] / limits["copy"],
    }


def runs_of(precision: str, given: Operands) -> dict[str, Callable[[], object]]:
    """Returns functions that run our operator and, if it is installed and has the precision, torchvision's, by name."""
    runs: dict[str, Callable[[], object]] = {precision: partial(ops.dcn, *given, SLOPE)}
    if precision != "bf16" and find_spec("torchvision"):
        x, predicted, weight, bias = (tensor.contiguous() for tensor in given)
        runs[f"torchvision {precision}"] = partial(plain_dcn, x, predicted, weight, bias, SLOPE)
    return runs


def ceilings(device: torch.device, nbytes: int = 1 << 28, side: int = 8192) -> dict[str, float]:
    """Measures the card's limits.

    Returns:
        copy: bytes per second that a copy reads and writes; matrix: operations per second of a matrix product in float16.
    """
    source = torch.zeros(nbytes, dtype=torch.uint8, device=device)
    target, matrix = torch.empty_like(source), torch.rand(side, side, device=device).half()
    runs = {"copy": lambda: target.copy_(source), "matrix": lambda: matrix @ matrix}
    seconds = medians(runs, 5, device, time.monotonic() + 5)
    return {"copy": 2 * nbytes / seconds["copy"], "matrix": 2 * side**3 / seconds["matrix"]}


def relative_error(given: Tensor, expected: Tensor) -> float:
    """Returns the largest error relative to the root mean square of the expected values."""
    return float((given.double() - expected).abs().max() / expected.square().mean().sqrt())


if __name__ == "__main__":
    sys.exit("\n".join(problem for channels in CHANNELS for problem in check_answers(channels, torch.device("cuda", 0))) or 0)
