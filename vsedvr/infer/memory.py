"""Estimates the memory that restoring takes, finds the memory that is free, and chooses tiles that fit into it."""

import logging
import math
from typing import NamedTuple

import torch

from vsedvr import ops
from vsedvr.infer import host_memory
from vsedvr.infer.tile import Tile, Tiling
from vsedvr.model import EDVRConfig

__all__ = [
    "ROWS_AT_A_TIME",
    "SMALL_STEPS",
    "Steps",
    "arena_bytes",
    "choose_steps",
    "choose_tiling",
    "feature_bytes",
    "free_bytes",
    "is_out_of_memory",
    "smaller_tiling",
    "working_bytes",
]

ROWS_AT_A_TIME = 24
"""Rows of features that are enlarged at a time at least. All at once would need the most memory of all the steps."""

OVERHEAD = 96 << 20
"""Bytes that restoring takes at any picture size: buffers of convolutions, gaps between tensors."""

RESERVE = 512 << 20
"""Bytes left free on a GPU for cuDNN, cuBLAS and other programs, which take their memory later."""

logger = logging.getLogger("vsedvr")


class Steps(NamedTuple):
    """In what steps a tile is restored. Fewer and larger ones are fewer kernels to launch for a GPU, and take more memory."""

    rows: int | None
    """Rows of features that are enlarged at a time; None for all."""
    at_once: bool
    """Whether all frames of a window are aligned at once (EDVR.align_all), instead of one by one."""


SMALL_STEPS = Steps(ROWS_AT_A_TIME, at_once=False)
"""Those that take the least memory, which tiles are chosen by; a CPU always has them."""


def choose_steps(
    tiling: Tiling, dtype: torch.dtype, device: torch.device, cache_bytes: int, ensemble: int = 1, streams: int = 1
) -> Steps:
    """Chooses the fewest steps that leave room for the features of a whole picture.

    Args:
        tiling, dtype, device, ensemble: as for working_bytes.
        cache_bytes: bytes that there are beside working_bytes with SMALL_STEPS.
        streams: number of frames that are restored at a time.
    """
    if device.type != "cuda":
        return SMALL_STEPS
    config, tile = tiling.config, tiling.tiles[0]
    frames = ensemble * (config.num_frame + 1 + streams) * len(tiling.tiles)  # as many as FrameCache ever has
    least = working_bytes(tiling, dtype, device, ensemble)
    room = least + cache_bytes - frames * feature_bytes(config, tile, dtype)
    height = tile.height // config.stride
    strips = (math.ceil(height / number) for number in range(2, height // ROWS_AT_A_TIME + 1))
    larger = Steps(None, True), Steps(None, False), *(Steps(rows, False) for rows in strips)
    fitting = (steps for steps in larger if working_bytes(tiling, dtype, device, ensemble, steps) <= room)
    return next(fitting, SMALL_STEPS)


def choose_tiling(whole: Tiling, dtype: torch.dtype, device: torch.device, budget: int, ensemble: int = 1) -> Tiling:
    """Chooses the largest tiles that can be restored within a memory budget, or the smallest tiles if none fit.

    Args:
        whole: a tiling with the whole picture in one tile.
        dtype: data type that the network computes in.
        device: where the network runs.
        budget: bytes for the features of a window in all versions, and for all the memory that is needed to work on them.
        ensemble: number of versions that each picture is restored in (see vsedvr.infer.ensemble).
    """
    config, tiling = whole.config, whole

    def needed(tiling: Tiling) -> int:
        window = config.num_frame * feature_bytes(config, tiling.tiles[0], dtype)
        return ensemble * window + working_bytes(tiling, dtype, device, ensemble)

    while needed(tiling) > budget:
        smaller = tiling.smaller()
        if smaller is None:
            break
        tiling = smaller
    return tiling


def feature_bytes(config: EDVRConfig, tile: Tile, dtype: torch.dtype) -> int:
    """Bytes that the engine keeps for one tile of one version of one frame.

    They hold the input, three feature maps for each of the pyramid's three levels, and one more map at full size.
    """
    pixels = tile.area
    positions = pixels // config.stride**2
    maps = positions * (3 + 1) + positions // 4 * 3 + positions // 16 * 3
    return dtype.itemsize * (config.num_in_ch * pixels + config.num_feat * maps)


def working_bytes(
    tiling: Tiling, dtype: torch.dtype, device: torch.device, ensemble: int = 1, steps: Steps = SMALL_STEPS
) -> int:
    """Upper bound of the bytes that restoring a frame in some steps takes on the device, without the features that are kept.

    It is the largest of the network's phases on one tile, plus, on a CPU, the input and output pictures, plus OVERHEAD. The
    phases are counted in bytes per position of the features. Measurements are in benchmarks/cpu/memory.md. The versions of an
    ensemble are restored one after the other, so that they take more only for pictures, on a CPU.
    """
    config, item = tiling.config, dtype.itemsize
    stride, num_feat, area = config.stride, config.num_feat, config.enlargement**2
    window = item * config.num_frame * num_feat
    first = 2 * item * num_feat * stride**2
    align = 8 * item * num_feat + _sampling_bytes(config, dtype, device)
    # At once: what one frame takes for each, and copies of its features side by side
    align = config.num_frame * (align + 4 * item * num_feat) if steps.at_once else window + align
    fuse = 3 * window + 4 * item * num_feat
    trunk = item * (4 * num_feat + 2 * area * config.num_out_ch)  # residual blocks; then the output in strips, and joined
    # Each output pixel of a position: a convolution's input and its output; without our kernels for GPUs, where pixel_shuffle
    # gives another layout, also a copy of the input in the layout that the convolution needs
    maps = 2 if device.type == "cuda" and ops.cuda.is_available(device) else 3
    enlarge = item * (area * (maps * config.num_tail_feat + 2 * config.num_out_ch) + 8 * num_feat)
    tile = tiling.tiles[0]
    positions = tile.area // stride**2
    phases = (
        positions * max(first, align, fuse),
        positions * trunk + (positions if steps.rows is None else _strip(tiling, steps.rows + 4, ensemble)) * enlarge,
    )
    result = config.num_out_ch * config.scale**2
    if device.type == "cuda":
        return _bytes_on_gpu(tiling, max(phases), item, ensemble) + OVERHEAD
    samples = config.num_frame * config.num_in_ch + 2 * result
    if ensemble > 1:  # the window's pictures in another version, the sum of the results, and that with one more added
        samples += config.num_frame * config.num_in_ch + 2 * result
    return max(phases) + 4 * samples * tiling.height * tiling.width + OVERHEAD


def _bytes_on_gpu(tiling: Tiling, network: int, item: int, ensemble: int) -> int:
    """Bytes of the network's work on one tile together with the pictures that are on a GPU meanwhile.

    A picture restored in one tile and one version is there as the network gave it, and as float32 when values outside of
    [0, 1] are added. Others are joined in float32: a restored tile is there as the network gave it, in float32, and planar.
    """
    tile, result = tiling.tiles[0], tiling.config.num_out_ch * tiling.config.scale**2
    tiled = len(tiling.tiles) > 1
    if not tiled and ensemble == 1:
        return max(network, (item + 4) * result * tile.area)
    picture = 4 * result * tiling.rows.size * tiling.columns.size
    kept = picture * (tiled + (ensemble > 1))  # the tiles joined so far, and the sum of the versions
    return max(kept + max(network, (item + 2 * 4) * result * tile.area), (2 if ensemble == 1 else 3) * picture)


def arena_bytes(tiling: Tiling, dtype: torch.dtype, ensemble: int = 1) -> int:
    """Bytes of the reused memory (ops.Arena) that results of kernels on a CPU need; they are part of working_bytes.

    The most that is in use at a time is the larger of two: the aligned frames with the offsets and masks of one deformable
    convolution and some maps, or a strip of the output and some maps.
    """
    config, tile = tiling.config, tiling.tiles[0]
    window, some = dtype.itemsize * config.num_frame * config.num_feat, 4 * dtype.itemsize * config.num_feat
    predicted = 4 * 27 * config.deformable_groups
    rows = _strip(tiling, ROWS_AT_A_TIME + 2, ensemble)
    strip = rows * dtype.itemsize * 2 * config.enlargement**2 * config.num_tail_feat
    positions = tile.area // config.stride**2
    return max(positions * (window + some + predicted), positions * some + strip)


def _strip(tiling: Tiling, rows: int, ensemble: int) -> int:
    """Number of positions in so many rows of a tile's features; in as many columns if these are more and become rows."""
    tile, stride = tiling.tiles[0], tiling.config.stride
    height, width = tile.height // stride, tile.width // stride
    upright = min(height, rows) * width
    return upright if ensemble < 8 else max(upright, min(width, rows) * height)


def _sampling_bytes(config: EDVRConfig, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes that a deformable convolution takes per position of the features, without its input and output.

    In every precision sampling positions are float32, and the 27 channels of offsets and mask logits per group are float16
    or wider.
    """
    num_feat, groups = config.num_feat, config.deformable_groups
    predicted = 27 * groups * dtype.itemsize
    if dtype == torch.bfloat16:  # conv_offset is float32, in and out
        predicted = 4 * (num_feat + 27 * groups)
    if device.type != "cuda":
        # For grid_sample: all taps of the input, before and after the mask is applied, and those of offsets and mask
        return 4 * 9 * (2 * num_feat + 11 * groups)
    if ops.cuda.is_available(device):
        return predicted  # samples never leave the registers
    # For torchvision: the mask after its sigmoid; then in float32 the input, offset and mask, each twice (converted, and in
    # torchvision's layout), all taps of the input, and the output three times (as zeros, as a sum, and with its bias)
    return predicted + 9 * groups * dtype.itemsize + 4 * (2 * (num_feat + 27 * groups) + 9 * num_feat + 3 * num_feat)


def free_bytes(device: torch.device) -> int:
    """Bytes of memory for tensors that are free on a device.

    On a GPU, memory that PyTorch holds without tensors in it counts as free. On a CPU it is the memory that this process may
    still take under all its limits (see host_memory).
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free - min(RESERVE, free // 2) + unused
    return host_memory.free_host_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error raised by the network means that memory ran out. PyTorch has several types of error for it."""
    # Texts of PyTorch on a CPU, of C++ and oneDNN; of cuDNN and cuBLAS; of page-locked memory and CuPy
    signs = ("DefaultCPUAllocator", "bad_alloc", "ALLOC_FAILED", "out of memory")
    text = str(error)
    known = any(sign in text for sign in signs) or text == "could not create a primitive"
    return known or isinstance(error, MemoryError | torch.OutOfMemoryError)


def smaller_tiling(tiling: Tiling, error: BaseException) -> Tiling:
    """Returns the next smaller tiles after memory ran out, and logs a warning.

    Raises:
        MemoryError: if there are no smaller tiles.
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
