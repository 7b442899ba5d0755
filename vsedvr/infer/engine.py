"""Runs an EDVR through a clip, frame by frame in any order, and keeps what can be used again."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.model import EDVR, FrameFeatures
from vsedvr.model.blocks import DCNPack

__all__ = ["Engine"]


class Engine:
    """Restores frames of one clip on one device in one precision.

    The features of a frame are computed when a window first needs it and kept, by source frame number, for the windows
    after; a neighbour that stands in a window twice is aligned once. What is kept changes the time a frame takes and
    never its pixels: output n depends on n alone.
    """

    def __init__(
        self,
        model: EDVR,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache_bytes: int = 4 << 30,
    ) -> None:
        """
        Args:
            model: stays as it is; the engine works with a copy.
            device: where to run.
            dtype: float32, float16 or bfloat16. The convolutions that predict offsets stay in float32 in bfloat16.
            cache_bytes: upper bound of the features kept between calls. Without room for a window of them frames are
                extracted again.
        """
        self.config = model.config
        self.device = torch.device(device)
        self.dtype = dtype
        self.model = copy.deepcopy(model).eval().to(self.device, dtype).to(memory_format=torch.channels_last)
        if dtype == torch.bfloat16:
            for module in self.model.modules():
                if isinstance(module, DCNPack):
                    module.conv_offset.float()
        self.cache = _FrameCache(max_frames=2 * self.config.num_frame, max_bytes=cache_bytes)

    @torch.inference_mode()
    def restore(self, indices: Sequence[int], load: Callable[[int], Tensor]) -> Tensor:
        """Restores the centre frame of a window.

        Args:
            indices: the window's num_frame source frame numbers; a number always means the same frame.
            load: gives the frame of a number, (3, h, w) in [0, 1]; called only for frames whose features are not kept.

        Returns:
            (3, scale * h, scale * w), float32, clamped to [0, 1], on the CPU.
        """
        frames = {i: self._frame(i, load) for i in dict.fromkeys(indices)}
        center = frames[indices[self.config.center]]
        aligned = {i: self.model.align(frame.features, center.features) for i, frame in frames.items()}
        restored = self.model.reconstruct(self.model.fuse([aligned[i] for i in indices]), center.lq)
        height, width = (size * self.config.scale for size in center.size)
        return restored[0, :, :height, :width].float().clamp(0, 1).cpu()

    def _frame(self, i: int, load: Callable[[int], Tensor]) -> "_Frame":
        frame = self.cache.get(i)
        if frame is None:
            frame = self._extract(load(i))
            self.cache.put(i, frame)
        return frame

    def _extract(self, lq: Tensor) -> "_Frame":
        height, width = lq.shape[-2:]
        lq = lq[None].to(self.device, self.dtype)
        multiple = self.config.size_multiple
        lq = F.pad(lq, (0, -width % multiple, 0, -height % multiple), "replicate")
        lq = lq.contiguous(memory_format=torch.channels_last)
        return _Frame(lq, self.model.extract(lq), (height, width))


class _Frame(NamedTuple):
    """One source frame as the network needs it."""

    lq: Tensor
    """Padded to the network's multiple: (1, 3, h, w)."""
    features: FrameFeatures
    size: tuple[int, int]
    """Height and width before the padding."""

    @property
    def nbytes(self) -> int:
        feat, offset_nbr, offset_ref, cas_offset_ref = self.features
        return sum(tensor.nbytes for tensor in (self.lq, *feat, *offset_nbr, *offset_ref, cas_offset_ref))


class _FrameCache:
    """Frames by number; the least recently used goes first."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.frames: OrderedDict[int, _Frame] = OrderedDict()

    def get(self, i: int) -> _Frame | None:
        if i in self.frames:
            self.frames.move_to_end(i)
        return self.frames.get(i)

    def put(self, i: int, frame: _Frame) -> None:
        self.frames[i] = frame
        while len(self.frames) > self.max_frames or self.nbytes > self.max_bytes:
            self.frames.popitem(last=False)

    @property
    def nbytes(self) -> int:
        return sum(frame.nbytes for frame in self.frames.values())
