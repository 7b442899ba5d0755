"""Restores a whole picture: all its tiles, in all versions of a self-ensemble."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from vsedvr.infer.cache import VersionTile
from vsedvr.infer.ensemble import Transform, mean_of_versions
from vsedvr.infer.phases import Phases
from vsedvr.infer.source import Load, checked
from vsedvr.infer.tile import Tile
from vsedvr.infer.workspace import Workspace

__all__ = ["restore_picture"]


def restore_picture(phases: Phases, workspace: Workspace, indices: Sequence[int], load: Load) -> tuple[Tensor, Tensor]:
    """Restores the centre frame of a window: its tiles in all versions, joined, and the mean of the versions.

    A picture restored in one tile and one version keeps the data type of the network; all others are joined in float32.

    Args:
        phases: restores a tile.
        workspace: says in which tiles and versions; its tiling is known.
        indices: the window's source frame numbers.
        load: returns a source frame, (num_in_ch, h, w), on the CPU.

    Returns:
        The picture, clamped to [0, 1], and whether all numbers that the network gave are finite, both on the device.

    Raises:
        ValueError: if a frame has another size or number of channels.
    """
    tiling, versions = workspace.tiling, workspace.versions
    assert tiling is not None
    load = checked(load, (tiling.config.num_in_ch, tiling.height, tiling.width))
    dtype = phases.dtype if len(versions) == len(tiling.tiles) == 1 else torch.float32
    finite: list[Tensor] = []

    def restore_version(version: Transform) -> Tensor:
        turned, of_version = version.tiling(tiling), functools.cache(lambda i: version.apply(load(i)))

        def restore_tile(tile: Tile) -> Tensor:
            restored, is_finite = phases.restore(workspace, VersionTile(version, tile), indices, of_version)
            finite.append(is_finite)
            return restored.to(dtype).contiguous()

        return turned.blend(map(restore_tile, turned.tiles), phases.device)

    picture = mean_of_versions(versions, restore_version).clamp_(0, 1).contiguous()
    return picture, torch.stack(finite).all()
