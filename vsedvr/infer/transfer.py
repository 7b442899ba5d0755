"""Copies pictures to a device and back; for a GPU through page-locked memory, so that the CPU does not have to wait."""

import torch
from torch import Tensor

__all__ = ["staging_memory", "start_download", "upload"]


def staging_memory(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns a tensor on the CPU, without values, for a picture that goes to a device or comes from it.

    For a GPU it is page-locked. PyTorch keeps such memory and gives it out again, but only when all copies are done. So a
    picture may be given up as soon as its copy has been started.
    """
    return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=device.type == "cuda")


def upload(picture: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copies a picture of any data type and strides from the CPU to the device, and converts it to the given data type.

    It does not wait for a GPU. A picture that is contiguous and in page-locked memory already is copied from there.
    """
    if device.type != "cuda":
        return picture.to(device, dtype)
    if not (picture.is_contiguous() and picture.is_pinned()):
        picture = staging_memory(picture.shape, dtype, device).copy_(picture)
    return picture.to(device, non_blocking=True).to(dtype)


def start_download(tensor: Tensor) -> Tensor:
    """Starts to copy a tensor to the CPU. A copy from a GPU is complete when the stream has done its work (see streams.py)."""
    if not tensor.is_cuda:
        return tensor.cpu()
    return staging_memory(tensor.shape, tensor.dtype, tensor.device).copy_(tensor, non_blocking=True)
