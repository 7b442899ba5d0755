"""How much memory restoring takes, how much there is, and the tiles that fit."""

import psutil
import torch

from vsedvr.infer.tile import Tile, Tiling
from vsedvr.model import EDVRConfig
from vsedvr.model.edvr import STRIP

__all__ = ["choose_tiling", "feature_bytes", "free_bytes", "is_out_of_memory", "working_bytes"]

OVERHEAD = 96 << 20
"""Bytes that do not depend on the picture's size: buffers of convolutions, gaps between the tensors."""


def choose_tiling(whole: Tiling, dtype: torch.dtype, budget: int) -> Tiling:
    """The largest tiles that are restored within the budget, or the smallest there are.

    Args:
        whole: the picture in one tile.
        dtype: of the network.
        budget: bytes for the features of a window and all that works on them.
    """
    config, tiling = whole.config, whole
    while config.num_frame * feature_bytes(config, tiling.tiles[0], dtype) + working_bytes(tiling, dtype) > budget:
        smaller = tiling.smaller()
        if smaller is None:
            break
        tiling = smaller
    return tiling


def feature_bytes(config: EDVRConfig, tile: Tile, dtype: torch.dtype) -> int:
    """Of one frame's features as the engine keeps them: the input, three maps a level of the pyramid, one map more."""
    pixels = tile.area
    positions = pixels // (config.size_multiple // 4) ** 2
    maps = positions * (3 + 1) + positions // 4 * 3 + positions // 16 * 3
    return dtype.itemsize * (config.num_in_ch * pixels + config.num_feat * maps)


def working_bytes(tiling: Tiling, dtype: torch.dtype) -> int:
    """Upper bound of what one frame takes beside the features that are kept (benchmarks/memory.md).

    That is the largest of the network's phases on one tile, counted in bytes per position of the features, and the pictures
    that go in and come out.
    """
    config, item = tiling.config, dtype.itemsize
    step, num_feat = config.size_multiple // 4, config.num_feat
    window = item * config.num_frame * num_feat
    first = 2 * item * num_feat * step**2
    # Sampling is float32 in every precision: all taps of the input, before and after the mask, and of offsets and mask
    align = window + 8 * item * num_feat + 4 * 9 * (2 * num_feat + 11 * config.deformable_groups)
    fuse = 3 * window + 4 * item * num_feat
    trunk = item * (4 * num_feat + 2 * 16 * config.num_out_ch)  # residual blocks; then the output's strips, and joined
    # 16 output pixels a position: the input of a convolution, the same in its own layout, and its output
    enlarge = item * (16 * (3 * config.num_tail_feat + 2 * config.num_out_ch) + 8 * num_feat)
    tile = tiling.tiles[0]
    height, width = tile.height // step, tile.width // step
    phases = height * width * max(first, align, fuse), height * width * trunk + min(height, STRIP + 4) * width * enlarge
    samples = config.num_frame * config.num_in_ch + 2 * config.num_out_ch * config.scale**2
    pictures = 4 * samples * tiling.height * tiling.width
    return max(phases) + pictures + OVERHEAD


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of the network means that memory ran out: PyTorch has no one type for it."""
    signs = ("DefaultCPUAllocator", "ALLOC_FAILED")  # PyTorch on a CPU; cuDNN and cuBLAS
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)
