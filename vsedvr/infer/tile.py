"""Tiles: a picture restored in parts, and the parts joined without seams.

Tiles overlap. Next to its inner edges a tile lacks what the network would see beyond, so the outermost `pad` pixels there
are not used; from where both are good, one tile fades into the next:

    left tile    |-------------------------------|
    right tile                      |-------------------------------|
    used                            |<-pad->|fade|<-pad->|

All tiles have one size, and their positions are multiples of the network's, so that every tile meets the pyramid's grid as
the whole picture does. Tiles at the border of the picture end there and see the padding that the whole picture has.
"""

import math
import operator
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vsedvr.model import EDVRConfig

__all__ = ["Tile", "Tiling", "default_tile_pad", "receptive_radius"]

TILE_PAD = 12
"""Pixels that a tile reads around itself by default, counted in the small picture of an x4 network."""
MIN_TILE = 32
"""Pixels, counted in the same way. Smaller tiles are not halved: nearly all that they read would be pad."""


class Tile(NamedTuple):
    """What the network reads for one tile, in pixels of the padded picture."""

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> int:
        return self.height * self.width

    def crop(self, picture: Tensor) -> Tensor:
        """(c, h, w) -> (c, height, width), a view; smaller where the picture is not padded and ends before."""
        return picture[:, self.top : self.top + self.height, self.left : self.left + self.width]


class Tiling:
    """A picture in tiles of one size."""

    def __init__(self, height: int, width: int, tile: tuple[int, int], pad: int, config: EDVRConfig) -> None:
        """
        Args:
            height, width: of the picture, in pixels; padded to the network's multiple at the bottom and on the right.
            tile: (width, height) that tiles advance by at most; 0 is the whole side. Rounded up to the multiple.
            pad: pixels around a tile that are read and not used; rounded up as well.
            config: of the network.
        """
        self.height = height
        self.width = width
        self.tile = (operator.index(tile[0]) or width, operator.index(tile[1]) or height)
        self.pad = pad = operator.index(pad)
        self.config = config
        self.columns, self.rows = (
            _split(size, side, pad, config.size_multiple) for size, side in zip((width, height), self.tile, strict=True)
        )
        self.tiles = [
            Tile(top, left, self.rows.length, self.columns.length) for top in self.rows.starts for left in self.columns.starts
        ]
        """Row by row; a single one where the whole picture takes no more room than a tile."""

    @classmethod
    def whole(cls, height: int, width: int, config: EDVRConfig) -> "Tiling":
        """A tiling with the whole picture in one tile."""
        return cls(height, width, (0, 0), default_tile_pad(config), config)

    def smaller(self) -> "Tiling | None":
        """The tiling whose tiles have their longer side halved, as often as it takes to read less; None at the smallest."""
        (width, height), multiple = self.tile, self.config.size_multiple
        while max(width, height) > MIN_TILE * self.config.stride:
            if width >= height:
                width = _round_up(math.ceil(width / 2), multiple)
            else:
                height = _round_up(math.ceil(height / 2), multiple)
            smaller = Tiling(self.height, self.width, (width, height), self.pad, self.config)
            if smaller.tiles[0].area < self.tiles[0].area:
                return smaller
        return None

    def blend(self, parts: Iterable[Tensor]) -> Tensor:
        """The restored picture from restored tiles, in order.

        Args:
            parts: (c, scale * tile height, scale * tile width) in [0, 1], float32, on the CPU; they are overwritten.

        Returns:
            (c, scale * height, scale * width) in [0, 1].
        """
        scale = self.config.scale
        if len(self.tiles) == 1:
            (picture,) = parts
        else:
            row_weights, column_weights = (side.weights(self.config) for side in (self.rows, self.columns))
            size = scale * self.rows.size, scale * self.columns.size
            picture = torch.zeros(self.config.num_out_ch, *size, dtype=torch.float32, device="cpu")
            for tile, part in zip(self.tiles, parts, strict=True):
                part *= row_weights[tile.top][:, None]
                part *= column_weights[tile.left]
                Tile(*(scale * n for n in tile)).crop(picture).add_(part)
            picture.clamp_(max=1)  # weights add up to 1 within rounding
        return picture[:, : scale * self.height, : scale * self.width]


def default_tile_pad(config: EDVRConfig) -> int:
    """The smallest pad, in input pixels, with which tiles of a real clip differ by at most 1/255 from the whole picture.

    It was measured for x4 (benchmarks/cpu/halo.md). With hr_in the features are as coarse against the input as the small
    picture is against the output, so the pad is four times as many pixels there.
    """
    return TILE_PAD * config.stride


def receptive_radius(config: EDVRConfig) -> int:
    """How far an output pixel sees at most in each direction, in input pixels, where all offsets are 0.

    The sum along the longest way through the network: a 3x3 convolution or pooling adds the distance of its input's
    positions, a bilinear upsampling that of the coarse positions. No pixel sees more, and the farthest-seeing ones at least
    nine tenths of it: which positions an upsampling reaches depends on where between them it starts. Offsets add to it.
    """
    l1 = config.stride  # distances between positions of the pyramid's levels
    l2, l3 = 2 * l1, 4 * l1
    first = 1 + (1 + 2 if config.hr_in else 0)
    if config.with_predeblur:
        first += l1 + l2 + 2 * l3 + l3 + 4 * l2 + l2 + 3 * 2 * l1  # down twice, block, up, two blocks, up, three blocks
    extract = 2 * l1 * config.num_extract_block
    pyramid = l1 + l2 + l2 + l3
    offset = 2 * l3 + l3 + 2 * l2  # offset_conv1 and 2 of l3, up, offset_conv2 and 3 of l2
    align = l2 + l2 + l2 + l1  # conv_offset and feat_conv of l2, up, feat_conv of l1
    cascade = 3 * l1
    temporal = l1
    spatial = l1 + l2 + 2 * l3 + l3 + l2 + l1  # two poolings, two convolutions, up, up, spatial_attn5
    fuse = temporal + spatial if config.with_tsa else 0
    reconstruct = 2 * l1 * config.num_reconstruct_block
    tail = 2 * l1  # upconv1, then upconv2 at half, conv_hr and conv_last at a quarter of the distance
    return first + extract + pyramid + offset + align + cascade + fuse + reconstruct + tail


class _Side(NamedTuple):
    """One side of a picture, split into overlapping parts of one length."""

    starts: list[int]
    length: int

    @property
    def size(self) -> int:
        """Pixels of the whole side, padded."""
        return self.starts[-1] + self.length

    def weights(self, config: EDVRConfig) -> dict[int, Tensor]:
        """How much each part counts at its output positions, by its start: (scale * length,) each, in sum 1 everywhere.

        A part rises in the middle of its overlap with the one before, and falls where the next one rises.
        """
        scale, fade = config.scale, config.size_multiple
        position = (torch.arange(scale * self.size, dtype=torch.float64, device="cpu") + 0.5) / scale
        seams = [(start + before + self.length) / 2 for before, start in pairwise(self.starts)]
        rises = [((position - seam) / fade + 0.5).clamp(0, 1) for seam in seams]
        edges = [torch.ones_like(position), *rises, torch.zeros_like(position)]
        return {
            start: (rise - fall)[scale * start : scale * (start + self.length)].float()
            for start, (rise, fall) in zip(self.starts, pairwise(edges), strict=True)
        }


def _split(size: int, tile: int, pad: int, multiple: int) -> _Side:
    """Splits a side into as few parts as can be. Each reads at most tile + 2 * pad + a multiple for the fade, rounded up."""
    size, tile = _round_up(size, multiple), _round_up(tile, multiple)
    overlap = 2 * _round_up(pad, multiple) + multiple
    count = math.ceil((size - overlap) / tile)
    if count <= 1:
        return _Side([0], size)
    length = _round_up(math.ceil((size + (count - 1) * overlap) / count), multiple)
    return _Side([_round_down(k * (size - length) // (count - 1), multiple) for k in range(count)], length)


def _round_up(size: int, multiple: int) -> int:
    return size + -size % multiple


def _round_down(size: int, multiple: int) -> int:
    return size // multiple * multiple
