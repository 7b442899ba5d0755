"""Compares results before anything is timed: within rounding in float32, by PSNR in half precision."""

import torch
from torch import Tensor

__all__ = ["MIN_PSNR", "check_same", "psnr"]

MIN_PSNR = 55
"""Smallest PSNR, in dB, of a picture in float16 or bfloat16 against the same one in float32."""


def check_same(what: str, one: Tensor, other: Tensor, tolerance: float = 1e-4) -> None:
    """Ends the program if two pictures in [0, 1], of any shape, are not the same to rounding.

    Args:
        what: name of the comparison, for the message.
        one, other: the pictures; values outside of [0, 1] are clamped first.
        tolerance: the largest difference of a sample.
    """
    difference = float((one.clamp(0, 1) - other.clamp(0, 1)).abs().max())
    if not difference < tolerance:  # NaN is no answer
        raise SystemExit(f"{what}: the answers differ by {difference:.1e}, more than {tolerance:.0e}; nothing is timed")


def psnr(one: Tensor, other: Tensor) -> float:
    """Returns the PSNR of two pictures in [0, 1], in dB, over all samples.

    vsedvr.evaluation has one for 8-bit pictures, but it needs scikit-image, which the GPU check does without.
    """
    return float(-10 * torch.log10((one - other).square().mean()))
