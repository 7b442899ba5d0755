"""Restores one tile: the network's phases in order, with features from the cache where it has them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.infer.cache import FrameTile, VersionTile
from vsedvr.infer.device import computing
from vsedvr.infer.source import Load
from vsedvr.infer.tile import Tile
from vsedvr.infer.transfer import upload
from vsedvr.infer.workspace import Workspace
from vsedvr.model import EDVR, FrameFeatures

__all__ = ["Phases"]


class Phases:
    """The phases of a network on one tile: extract each frame, align them, fuse them, reconstruct the frame in the centre."""

    def __init__(self, model: EDVR, device: torch.device, dtype: torch.dtype) -> None:
        """
        Args:
            model: the network, on the device and of the data type.
            device: where it runs. On a GPU all work is launched in the current stream, and nothing waits for it.
            dtype: the data type that it computes in.
        """
        self.model = model
        self.center = model.config.center
        self.device = device
        self.dtype = dtype

    def restore(self, workspace: Workspace, tile: VersionTile, indices: Sequence[int], load: Load) -> tuple[Tensor, Tensor]:
        """Restores one tile of the centre frame of a window.

        Args:
            workspace: where features are taken from and kept, and the steps.
            tile: the tile, in some version of the picture.
            indices: the window's source frame numbers.
            load: returns a source frame in this version, on the CPU; called for each frame without features in the cache.

        Returns:
            The restored tile as the network gives it, (num_out_ch, h, w), and whether all its numbers are finite, both on the
            device.
        """
        found = {i: workspace.cache.get((i, tile)) for i in dict.fromkeys(indices)}
        # Pictures are loaded here: while the settings of `computing` hold, other engines cannot launch
        pictures = {i: self._upload(tile.tile, load(i)) for i, frame in found.items() if frame is None}

        def frame_tile(i: int) -> FrameTile:
            frame = found[i] or self._extract(pictures.pop(i))
            found[i] = None
            workspace.cache.put((i, tile), frame)
            return frame

        steps = workspace.steps
        with computing(self.device, self.dtype), workspace.reused_memory():
            if tile in workspace.cache.tiles:  # its features stay anyway, and enter the cache in the window's order
                window = {i: frame_tile(i) for i in found}
                center, feat = self._fuse(indices, window.pop, steps.at_once)
            else:
                center, feat = self._fuse(indices, frame_tile, steps.at_once)
            restored = self.model.reconstruct(feat, center, steps.rows)[0]
            return restored, torch.stack(restored.aminmax()).isfinite().all()  # one NaN makes both of them NaN

    def _fuse(self, indices: Sequence[int], frame_tile: Callable[[int], FrameTile], at_once: bool) -> tuple[Tensor, Tensor]:
        """Aligns and fuses a window's frames.

        Unless they are aligned at once, they are asked for one at a time. So of a tile that the cache does not keep, only the
        centre frame's features and those of one more are there together.

        Args:
            indices: the window's frame numbers.
            frame_tile: returns a frame's pixels and features. It is called once for each frame.
            at_once: whether all frames are aligned at once.

        Returns:
            The centre frame's pixels, and the fused features. All else is freed, before reconstruction needs memory.
        """
        middle, numbers = indices[self.center], list(dict.fromkeys(indices))
        center = frame_tile(middle)

        def features(i: int) -> FrameFeatures:
            return (center if i == middle else frame_tile(i)).features

        if at_once:
            all_aligned = self.model.align_all([features(i) for i in numbers], center.features)
            aligned = dict(zip(numbers, all_aligned, strict=True))
        else:
            aligned = {i: self.model.align(features(i), center.features) for i in numbers}
        return center.lq, self.model.fuse([aligned[i] for i in indices])

    def _extract(self, lq: Tensor) -> FrameTile:
        return FrameTile(lq, self.model.extract(lq))

    def _upload(self, tile: Tile, picture: Tensor) -> Tensor:
        """Starts to copy a tile's pixels to the device, clamps them, and pads them to the tile's size."""
        lq = upload(tile.crop(picture)[None], self.device, self.dtype).clamp(0, 1)
        padding = 0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]
        return F.pad(lq, padding, "replicate").contiguous(memory_format=torch.channels_last)
