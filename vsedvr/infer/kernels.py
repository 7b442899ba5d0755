"""Whether the package's own kernels are there."""

import torch

from vsedvr.ops import native

__all__ = ["lacks_kernels"]


def lacks_kernels(device: torch.device) -> bool:
    """Whether a CPU has to do without the compiled kernels. A GPU's are compiled when the engine is made, with a message."""
    return device.type == "cpu" and not native.is_available()
