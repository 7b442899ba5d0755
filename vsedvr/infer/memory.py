"""How much memory restoring takes, how much there is, and the tiles that fit."""

import logging

import torch

from vsedvr import ops
from vsedvr.infer import host_memory
from vsedvr.infer.tile import Tile, Tiling
from vsedvr.model import EDVRConfig

__all__ = [
    "ROWS_AT_A_TIME",
    "arena_bytes",
    "choose_tiling",
    "feature_bytes",
    "free_bytes",
    "is_out_of_memory",
    "smaller_tiling",
    "working_bytes",
]

ROWS_AT_A_TIME = 24
"""Rows of features that the engine enlarges at a time: the maps at the size of the output would set the peak of memory."""

OVERHEAD = 96 << 20
"""Bytes that restoring takes whatever the picture's size: buffers of convolutions, gaps between the tensors."""

RESERVE = 512 << 20
"""Bytes that are free on a GPU at first and that others will take: cuDNN's and cuBLAS's kernels, other programs."""

logger = logging.getLogger("vsedvr")


def choose_tiling(whole: Tiling, dtype: torch.dtype, device: torch.device, budget: int) -> Tiling:
    """The largest tiles that are restored within the budget, or the smallest there are.

    Args:
        whole: the picture in one tile.
        dtype: of the network.
        device: where it runs.
        budget: bytes that the features of a window and all that works on them may take.
    """
    config, tiling = whole.config, whole
    while config.num_frame * feature_bytes(config, tiling.tiles[0], dtype) + working_bytes(tiling, dtype, device) > budget:
        smaller = tiling.smaller()
        if smaller is None:
            break
        tiling = smaller
    return tiling


def feature_bytes(config: EDVRConfig, tile: Tile, dtype: torch.dtype) -> int:
    """Bytes that the engine keeps of one frame: the input, three maps a level of the pyramid, and one map more."""
    pixels = tile.area
    positions = pixels // config.stride**2
    maps = positions * (3 + 1) + positions // 4 * 3 + positions // 16 * 3
    return dtype.itemsize * (config.num_in_ch * pixels + config.num_feat * maps)


def working_bytes(tiling: Tiling, dtype: torch.dtype, device: torch.device) -> int:
    """Upper bound of what one frame takes on the device beside the features that are kept (benchmarks/cpu/memory.md).

    That is the largest of the network's phases on one tile, counted in bytes per position of the features, and the pictures
    that go in and come out.
    """
    config, item = tiling.config, dtype.itemsize
    stride, num_feat = config.stride, config.num_feat
    window = item * config.num_frame * num_feat
    first = 2 * item * num_feat * stride**2
    align = window + 8 * item * num_feat + _sampling_bytes(config, dtype, device)
    fuse = 3 * window + 4 * item * num_feat
    trunk = item * (4 * num_feat + 2 * 16 * config.num_out_ch)  # residual blocks; then the output's strips, and joined
    # 16 output pixels a position: the input of a convolution, the same in its own layout, and its output
    enlarge = item * (16 * (3 * config.num_tail_feat + 2 * config.num_out_ch) + 8 * num_feat)
    tile = tiling.tiles[0]
    height, width = tile.height // stride, tile.width // stride
    phases = (
        height * width * max(first, align, fuse),
        height * width * trunk + min(height, ROWS_AT_A_TIME + 4) * width * enlarge,
    )
    result = config.num_out_ch * config.scale**2
    if device.type == "cuda":
        # Pictures are not on the device, but for the result: as the network gave it, in float32, clamped, and planar
        return max(*phases, tile.area * result * (item + 3 * 4)) + OVERHEAD
    samples = config.num_frame * config.num_in_ch + 2 * result
    return max(phases) + 4 * samples * tiling.height * tiling.width + OVERHEAD


def arena_bytes(tiling: Tiling, dtype: torch.dtype) -> int:
    """How much of the working memory on a CPU is for results of the kernels, which lie in memory that is used again.

    At most at a time: the aligned frames, what one deformable convolution is predicted from and predicts, and some maps; or
    the aligned frames, the same weighted, and some maps; or a strip of the output, and some maps.
    """
    config, tile = tiling.config, tiling.tiles[0]
    height, width = tile.height // config.stride, tile.width // config.stride
    window, some = dtype.itemsize * config.num_frame * config.num_feat, 4 * dtype.itemsize * config.num_feat
    predicted = 4 * 27 * config.deformable_groups
    strip = min(height, ROWS_AT_A_TIME + 2) * width * dtype.itemsize * 2 * 16 * config.num_tail_feat
    positions = height * width
    return max(positions * (window + some + max(predicted, window)), positions * some + strip)


def _sampling_bytes(config: EDVRConfig, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes that a deformable convolution takes per position of the features, beside its input and output.

    In every precision positions are float32, and the channels of offset and mask logits, 27 a group, at least float16.
    """
    num_feat, groups = config.num_feat, config.deformable_groups
    predicted = 27 * groups * dtype.itemsize
    if dtype == torch.bfloat16:  # conv_offset is float32, in and out
        predicted = 4 * (num_feat + 27 * groups)
    if device.type != "cuda":
        # grid_sample: all taps of the input, before and after the mask, and of offsets and mask
        return 4 * 9 * (2 * num_feat + 11 * groups)
    if ops.cuda.is_available(device):
        return predicted  # samples never leave the registers
    # torchvision: the mask after its sigmoid; then in float32 input, offset and mask, each converted and once more in
    # torchvision's layout, all taps of the input, and the output as zeros, as a sum and with its bias
    return predicted + 9 * groups * dtype.itemsize + 4 * (2 * (num_feat + 27 * groups) + 9 * num_feat + 3 * num_feat)


def free_bytes(device: torch.device) -> int:
    """Memory for tensors that is free on the device.

    On a GPU what PyTorch holds and has no tensors in counts as free. On a CPU it is what this process may still take, whatever
    limits it (see host_memory).
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free - min(RESERVE, free // 2) + unused
    return host_memory.free_host_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of the network means that memory ran out: PyTorch has no one type for it."""
    # PyTorch on a CPU, C++ and oneDNN; cuDNN and cuBLAS; page-locked memory and CuPy
    signs = ("DefaultCPUAllocator", "bad_alloc", "ALLOC_FAILED", "out of memory")
    text = str(error)
    known = any(sign in text for sign in signs) or text == "could not create a primitive"
    return known or isinstance(error, MemoryError | torch.OutOfMemoryError)


def smaller_tiling(tiling: Tiling, error: BaseException) -> Tiling:
    """The next smaller tiles, with a warning, after memory ran out.

    Raises:
        MemoryError: if there are none.
    """
    smaller = tiling.smaller()
    if smaller is None:
        width, height = tiling.tiles[0].width, tiling.tiles[0].height
        raise MemoryError(
            f"out of memory, and tile {tiling.tile} with tile_pad {tiling.pad} ({width}x{height} pixels) cannot be smaller; "
            f"a smaller tile_pad, precision fp16 on a GPU, or device_index -1 (the CPU) may help ({error})"
        ) from error
    logger.warning("out of memory: restoring in smaller tiles from here on; tile=%s has them from the start", smaller.tile)
    return smaller
