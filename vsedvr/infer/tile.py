"""Divides a picture into tiles that are restored one by one, and joins the restored tiles without seams.

Tiles overlap. At its inner edges a tile lacks the pixels that the network would see beyond them, so the outermost `pad` pixels
there are not used. Where two neighbouring tiles are both good, one fades into the other:

    left tile    |-------------------------------|
    right tile                      |-------------------------------|
    used                            |<-pad->|fade|<-pad->|

All tiles have one size, and their positions are multiples of the network's size_multiple, so that the pyramid's grid lies in
every tile as it lies in the whole picture. Tiles at the picture's border end there and see the padding of the whole picture.
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
"""Pixels that a tile reads around itself by default, counted at the resolution of the features."""
MIN_TILE = 32
"""Side of a tile in pixels, at the resolution of the features, up to which it is not halved: its pad would dominate."""


class Tile(NamedTuple):
    """Rectangle that the network reads for one tile, in pixels of the padded picture."""

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> int:
        return self.height * self.width

    def crop(self, picture: Tensor) -> Tensor:
        """Returns a view of the tile's pixels, (c, h, w) -> (c, height, width); smaller if the picture ends before."""
        return picture[:, self.top : self.top + self.height, self.left : self.left + self.width]


class Tiling:
    """Division of a picture into overlapping tiles of one size."""

    def __init__(self, height: int, width: int, tile: tuple[int, int], pad: int, config: EDVRConfig) -> None:
        """
        Args:
            height, width: the picture's size in pixels; it is padded to multiples of config.size_multiple at the bottom
                and on the right.
            tile: (width, height), the largest distance in pixels from one tile to the next; 0 is the whole side. It is
                rounded up to a multiple of config.size_multiple.
            pad: pixels around a tile that are read but not used; rounded up in the same way.
            config: the configuration of the network.
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
        """All tiles, row by row; only one if the whole picture fits into one tile."""

    @classmethod
    def whole(cls, height: int, width: int, config: EDVRConfig) -> "Tiling":
        """Makes a tiling with the whole picture in one tile."""
        return cls(height, width, (0, 0), default_tile_pad(config), config)

    def smaller(self) -> "Tiling | None":
        """Returns a tiling with smaller tiles, made by halving their longer side; None if these are the smallest."""
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

    def transposed(self) -> "Tiling":
        """Returns the tiling of the transposed picture, whose tiles are these ones transposed."""
        return Tiling(self.width, self.height, self.tile[::-1], self.pad, self.config)

    def blend(self, parts: Iterable[Tensor]) -> Tensor:
        """Joins restored tiles to the restored picture.

        Args:
            parts: the restored tiles in the order of `tiles`, each (c, scale * tile height, scale * tile width), float32, on
                the CPU; they are overwritten.

        Returns:
            The restored picture, (c, scale * height, scale * width). Its values lie within those of the parts, except for
            rounding.
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
        return picture[:, : scale * self.height, : scale * self.width]


def default_tile_pad(config: EDVRConfig) -> int:
    """The smallest pad, in input pixels, at which a real clip in tiles differs by at most 1/255 from the whole picture.

    It was measured with x4 networks (benchmarks/cpu/halo.md). Networks of scale 1 have features at a quarter of the
    input's size, so their pad has four times as many pixels.
    """
    return TILE_PAD * config.stride


def receptive_radius(config: EDVRConfig) -> int:
    """The farthest distance, in input pixels, at which an input pixel affects an output pixel if all offsets are 0.

    It is the sum along the longest path through the network: a 3x3 convolution or pooling adds the distance between its
    input's positions, a bilinear upsampling the distance between the coarse positions. It is an upper bound, of which some
    pixels reach at least nine tenths: how far an upsampling reaches depends on where between the coarse positions a pixel
    lies. Offsets add to the distance.
    """
    l1 = config.stride  # distances between positions of the pyramid's levels
    l2, l3 = 2 * l1, 4 * l1
    first = 1 + (1 + 2 if config.scale == 1 else 0)
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
    tail = 2 * l1  # each upconv at the distance of its input, conv_hr and conv_last at that of the output
    return first + extract + pyramid + offset + align + cascade + fuse + reconstruct + tail


class _Side(NamedTuple):
    """One side of a picture, split into overlapping parts of equal length."""

    starts: list[int]
    length: int

    @property
    def size(self) -> int:
        """Length of the whole padded side in pixels."""
        return self.starts[-1] + self.length

    def weights(self, config: EDVRConfig) -> dict[int, Tensor]:
        """Weights of each part's output pixels, (scale * length,), by the start of the part; they add up to 1 everywhere.

        A part's weight rises from 0 to 1 in the middle of the overlap with the part before, and falls where the next rises.
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
    """Splits a side into as few parts as possible.

    The length of a part is at most tile + 2 * pad + multiple, with tile and pad rounded up; the last summand is for the fade.
    """
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
