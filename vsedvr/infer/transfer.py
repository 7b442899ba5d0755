"""Copies pictures to a device and back; for a GPU through page-locked memory, so that the CPU does not have to wait."""

import torch
from torch import Tensor

__all__ = ["start_download", "upload", "wait_for"]


def upload(picture: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copies a picture of any data type and strides from the CPU to the device, and converts it to the given data type."""
    if device.type != "cuda":
        return picture.to(device, dtype)
    # The staging memory comes from PyTorch's cache and may go back at once: the cache gives it out again only when the copy
    # is done.
    staged = torch.empty(picture.shape, dtype=dtype, device="cpu", pin_memory=True).copy_(picture)
    return staged.to(device, non_blocking=True)


def start_download(tensor: Tensor) -> Tensor:
    """Copies a tensor to the CPU. A copy from a GPU goes to page-locked memory and is complete only after `wait_for`."""
    if not tensor.is_cuda:
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Waits until the device has done all the work that this thread has started on it."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
