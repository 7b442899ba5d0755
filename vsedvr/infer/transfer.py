"""Pictures to the device and back. For a GPU through page-locked memory, which it copies while the CPU goes on."""

import torch
from torch import Tensor

__all__ = ["start_download", "upload", "wait_for"]


def upload(picture: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copies a picture from the CPU to the device, in the given type. It may be of any type and strides."""
    if device.type != "cuda":
        return picture.to(device, dtype)
    # The staging memory comes from PyTorch's cache of it, where it may return at once: the cache gives it out again only
    # when the copy is done.
    staged = torch.empty(picture.shape, dtype=dtype, device="cpu", pin_memory=True).copy_(picture)
    return staged.to(device, non_blocking=True)


def start_download(tensor: Tensor) -> Tensor:
    """Copies a tensor to the CPU. From a GPU the copy goes to page-locked memory, and is complete only after `wait_for`."""
    if not tensor.is_cuda:
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Waits until all is done that this thread has started on the device."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
