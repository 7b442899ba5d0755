"""Tensors and networks that take themselves for such on a GPU, for tests within PyTorch's FakeTensorMode."""

import torch
from torch import Tensor, nn

from vsedvr.model import EDVR
from vsedvr.model.pcd import SplitConv

GPU = torch.device("cuda", 0)


def on_a_gpu(tensor: Tensor, device: torch.device = GPU, dtype: torch.dtype | None = None) -> Tensor:
    """Returns a tensor without content that takes itself for one on a GPU, of the same shape and layout."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype or tensor.dtype, device=device)


def moved(model: EDVR) -> EDVR:
    """Replaces all weights of an engine's network by what `on_a_gpu` makes of them."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(on_a_gpu(parameter), requires_grad=False)
        if isinstance(module, SplitConv) and module.halves is not None:
            module.halves = tuple(map(on_a_gpu, module.halves))
    return model
