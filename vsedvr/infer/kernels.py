"""Tells whether the package's own compiled kernels can be used on a device."""

import torch

from vsedvr.ops import native

__all__ = ["lacks_kernels"]


def lacks_kernels(device: torch.device) -> bool:
    """True for a CPU if the package was built without its compiled kernels.

    It is False for every GPU: GPU kernels are compiled when the engine is made, and a failure is reported then.
    """
    return device.type == "cpu" and not native.is_available()
