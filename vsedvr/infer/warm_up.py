"""What an engine does on a GPU when it is created, so that no frame has to wait for it."""

import torch

from vsedvr.infer.cache import VersionTile
from vsedvr.infer.memory import free_bytes
from vsedvr.infer.phases import Phases
from vsedvr.infer.stream import Stream
from vsedvr.infer.workspace import Workspace

__all__ = ["capacity_of_gpu", "restore_black"]


def capacity_of_gpu(device: torch.device) -> int:
    """Returns how many bytes of a GPU's memory PyTorch may hold: those of its tensors, and those that are free."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # memory that PyTorch keeps for another stream could not be used in this one
    return torch.cuda.memory_allocated(device) + free_bytes(device)


@torch.inference_mode()
def restore_black(phases: Phases, stream: Stream, capacity: int, workspace: Workspace) -> None:
    """Restores a black tile, so that slow first-time work is done and a lack of memory shows at once.

    If some versions are transposed, a transposed tile follows.

    NVIDIA's driver for Windows does not fail when the GPU's memory is full: it goes on in the computer's memory, many times
    slower. So it also counts as out of memory if PyTorch ends up with more memory than the capacity. One check is enough:
    later only the cache takes more memory, and that is bounded. A limit for the whole process
    (torch.cuda.set_per_process_memory_fraction) would also affect the other filters in the script.

    Args:
        phases: the network on the GPU.
        stream: the stream in which the engine launches its work.
        capacity: bytes that PyTorch may hold (capacity_of_gpu), found before the first try.
        workspace: its tiling is known.

    Raises:
        MemoryError, RuntimeError: if memory runs out.
    """
    tiling = workspace.tiling
    assert tiling is not None
    black = torch.zeros((), dtype=torch.float32, device="cpu").expand(tiling.config.num_in_ch, tiling.height, tiling.width)
    for version in {version.transposed: version for version in workspace.versions}.values():
        frames = dict.fromkeys(range(tiling.config.num_frame), version.apply(black))
        tile = VersionTile(version, version.tiling(tiling).tiles[0])
        with stream.current():
            phases.restore(workspace, tile, list(frames), frames.__getitem__)
        stream.mark()()
    held = torch.cuda.memory_reserved(phases.device)
    if held > capacity:
        raise MemoryError(f"{held >> 20} MiB are more than the {capacity >> 20} MiB that were free on the GPU")
