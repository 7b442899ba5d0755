"""Restores one tile: the network's phases in order, with features from the cache where it has them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vsedvr.infer.cache import FrameTile, VersionTile
from vsedvr.infer.device import computing
from vsedvr.infer.source import Load
from vsedvr.infer.tile import Tile
from vsedvr.infer.transfer import upload
from vsedvr.infer.workspace import Workspace
from vsedvr.model import EDVR

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
        frames = {i: workspace.cache.get((i, tile)) for i in dict.fromkeys(indices)}
        # Pictures are loaded here: while the settings of `computing` hold, other engines cannot launch
        pictures = {i: self._upload(tile.tile, load(i)) for i, frame in frames.items() if frame is None}
        with computing(self.device, self.dtype):
            window: dict[int, FrameTile] = {}
            for i, frame in frames.items():
                window[i] = frame or self._extract(pictures.pop(i))
                workspace.cache.put((i, tile), window[i])
            del frames
            center, steps = window[indices[self.center]], workspace.steps
            with workspace.reused_memory():
                restored = self.model.reconstruct(self._fuse(indices, window, steps.at_once), center.lq, steps.rows)[0]
            return restored, torch.stack(restored.aminmax()).isfinite().all()  # one NaN makes both of them NaN

    def _fuse(self, indices: Sequence[int], frames: dict[int, FrameTile], at_once: bool) -> Tensor:
        """Aligns and fuses a window's frames. The aligned frames are freed on return, before reconstruction needs memory."""
        center = frames[indices[self.center]]
        if at_once:
            features = [frame.features for frame in frames.values()]
            aligned = dict(zip(frames, self.model.align_all(features, center.features), strict=True))
        else:
            aligned = {i: self.model.align(frame.features, center.features) for i, frame in frames.items()}
        return self.model.fuse([aligned[i] for i in indices])

    def _extract(self, lq: Tensor) -> FrameTile:
        return FrameTile(lq, self.model.extract(lq))

    def _upload(self, tile: Tile, picture: Tensor) -> Tensor:
        """Starts to copy a tile's pixels to the device, clamps them, and pads them to the tile's size."""
        lq = upload(tile.crop(picture)[None], self.device, self.dtype).clamp(0, 1)
        padding = 0, tile.width - lq.shape[3], 0, tile.height - lq.shape[2]
        return F.pad(lq, padding, "replicate").contiguous(memory_format=torch.channels_last)
