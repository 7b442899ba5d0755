"""The processes that train together, as torchrun starts them; one alone without it."""

import os
from dataclasses import dataclass

import torch
from torch import distributed

__all__ = ["Processes"]


@dataclass(frozen=True)
class Processes:
    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None) -> "Processes":
        """This process's place among all; connects them, by NCCL on GPUs and by gloo on CPUs.

        Args:
            device: cpu, cuda, cuda:1, or None for a GPU where there is one. Under torchrun each process takes the GPU of its
                local rank.

        Raises:
            ValueError: if CUDA is asked for and not there, or there are more processes than GPUs.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        count = int(os.environ.get("WORLD_SIZE", 1))
        if chosen.type == "cuda":
            index = int(os.environ.get("LOCAL_RANK", chosen.index or 0))
            if index >= torch.cuda.device_count():
                raise ValueError(
                    f"device cuda:{index} is not there: {torch.cuda.device_count()} GPUs found; --device cpu trains without"
                )
            chosen = torch.device("cuda", index)
            torch.cuda.set_device(chosen)
        if count > 1:
            # Torch's DistributedDataParallel imports this module, whose functions keep as their default whichever group there
            # is then. Imported before there is one they keep none: else the group's threads would go on after leave, and
            # abort a process that ends while one of them lets go of a tensor
            from torch.distributed.nn import functional  # noqa: F401

            distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", 0)), count, chosen)

    @property
    def is_first(self) -> bool:
        """The one that writes files and reports."""
        return self.rank == 0

    def leave(self) -> None:
        if self.count > 1:
            distributed.destroy_process_group()
