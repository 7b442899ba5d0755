import math

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling, clip_windows, default_tile_pad, receptive_radius
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.model.blocks import DCNPack

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
X2 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, scale=2, num_tail_feat=8)
SIZES = [(1, 1), (4, 4), (67, 131), (128, 128), (270, 479), (17, 997)]


def inner_edges(tiling: Tiling) -> Tensor:
    """Returns how far each position of the padded picture is inside each tile's inner edges, in input pixels.

    It is negative outside of the tile, and infinite where only the picture's border is near.
    """
    height, width = tiling.rows.size, tiling.columns.size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    depths = []
    for top, left, tile_height, tile_width in tiling.tiles:
        depth = torch.full((height, width), math.inf)
        for distance, inner in [
            (y - top, top > 0),
            (x - left, left > 0),
            (top + tile_height - 1 - y, top + tile_height < height),
            (left + tile_width - 1 - x, left + tile_width < width),
        ]:
            if inner:
                depth = torch.minimum(depth, distance)
        depths.append(depth)
    return torch.stack(depths)


class TestTiling:
    @pytest.mark.parametrize("config", [X4, TINY], ids=["x4", "x1"])
    @pytest.mark.parametrize(("h", "w"), SIZES)
    @pytest.mark.parametrize(("tile", "pad"), [((64, 64), 16), ((1, 1), 0), ((33, 50), 7), ((40, 0), 3), ((0, 0), 5)])
    def test_tiles_are_equal_aligned_and_cover_the_picture(
        self, config: EDVRConfig, h: int, w: int, tile: tuple[int, int], pad: int
    ) -> None:
        multiple = config.size_multiple
        tiling = Tiling(h, w, tile, pad, config)
        assert all(number % multiple == 0 for each in tiling.tiles for number in each)
        assert len({(each.height, each.width) for each in tiling.tiles}) == 1
        assert len(set(tiling.tiles)) == len(tiling.tiles)
        bottom, right = (max(each[k] + each[k + 2] for each in tiling.tiles) for k in (0, 1))
        assert (bottom, right) == (h + -h % multiple, w + -w % multiple), "no tile reaches over the picture"
        for side, size, read in zip(tile, (w, h), (tiling.tiles[0].width, tiling.tiles[0].height), strict=True):
            assert not side or read <= min(size, side + 2 * pad + multiple) + 3 * (multiple - 1)
        if h * w < 10_000:
            used = inner_edges(tiling) >= pad
            assert used.any(0).all(), "every position is deep enough within some tile"

    def test_whole(self) -> None:
        assert Tiling.whole(67, 131, X4).tiles == [(0, 0, 68, 132)]

    @pytest.mark.parametrize("config", [X4, TINY], ids=["x4", "x1"])
    @pytest.mark.parametrize(("h", "w", "tile", "pad"), [(67, 131, (24, 32), 8), (64, 64, (4, 4), 0), (1, 200, (16, 16), 20)])
    def test_blending_fades_between_tiles_and_uses_no_pad(
        self, config: EDVRConfig, h: int, w: int, tile: tuple[int, int], pad: int
    ) -> None:
        """Each tile in turn is white while the others are black, which shows its weights."""
        tiling, scale = Tiling(h, w, tile, pad, config), config.scale
        shape = 3, scale * tiling.tiles[0].height, scale * tiling.tiles[0].width
        depths = inner_edges(tiling).repeat_interleave(scale, 1).repeat_interleave(scale, 2)[:, : h * scale, : w * scale]
        total = torch.zeros(3, h * scale, w * scale)
        for k, depth in enumerate(depths):
            weights = tiling.blend(torch.full(shape, float(k == other)) for other in range(len(tiling.tiles)))
            assert weights.shape == total.shape
            assert (weights[:, depth < pad] == 0).all()
            if len(tiling.tiles) > 1:
                steps = (weights[:, :, 1:] - weights[:, :, :-1]).abs().max() if weights.shape[2] > 1 else torch.zeros(())
                assert steps < 1.01 / (scale * config.size_multiple), "no seam"
            total += weights
        assert (total - 1).abs().max() < 1e-6

    def test_a_picture_that_was_cut_is_the_same_again(self) -> None:
        tiling = Tiling(50, 83, (16, 20), 4, TINY)
        picture = torch.rand(3, 64, 96)
        parts = [tile.crop(picture).clone() for tile in tiling.tiles]
        assert len(parts) > 1
        assert (tiling.blend(parts) - picture[:, :50, :83]).abs().max() < 1e-6

    def test_smaller_until_the_smallest(self) -> None:
        tiling = Tiling.whole(270, 479, X4)
        areas = [tiling.tiles[0].area]
        while smaller := tiling.smaller():
            assert smaller.pad == tiling.pad
            tiling = smaller
            areas.append(tiling.tiles[0].area)
        assert areas == sorted(set(areas), reverse=True)
        assert max(tiling.tile) <= 32
        assert Tiling.whole(16, 16, X4).smaller() is None

    @pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.int16])
    def test_whole_numbers_of_any_kind(self, kind: type[int]) -> None:
        tile, pad = (kind(100), kind(200)), kind(200)
        tiling = Tiling(2160, 3840, tile, pad, X4)
        assert tiling.tiles == Tiling(2160, 3840, (100, 200), 200, X4).tiles, "no byte runs over"
        assert str(tiling.tile) == "(100, 200)"


CONFIGS = {
    "x4": X4,
    "M": EDVRConfig(3, 3, 1, 3, 1),
    "L": EDVRConfig(3, 3, 1, 3, 1, 5, 40),
    "x1": TINY,
    "x2": EDVRConfig(3, 3, 2, 3, 1, 1, 1, scale=2, num_tail_feat=2),
    "predeblur": EDVRConfig(3, 3, 2, 3, 1, 1, 1, with_predeblur=True, num_tail_feat=2),
    "predeblur x1": EDVRConfig(3, 3, 2, 3, 1, 1, 1, with_predeblur=True, scale=1, num_tail_feat=2),
    "no TSA, no blocks": EDVRConfig(3, 3, 2, 3, 1, 0, 0, with_tsa=False, num_tail_feat=2),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_receptive_radius(config: EDVRConfig) -> None:
    """A NaN in one input pixel spreads to all pixels that depend on it. A fresh network has offsets of 0."""
    model, radius, multiple = EDVR(config).eval().double(), receptive_radius(config), config.size_multiple
    middle = (radius // multiple + 2) * multiple
    reach = 0
    for x in range(middle, middle + multiple):  # each position on the pyramid's grid
        lq = torch.rand(1, config.num_frame, 3, multiple, 2 * middle + multiple, dtype=torch.float64)
        lq[:, :, :, 0, x] = torch.nan
        with torch.inference_mode():
            (seen,) = torch.where(model(lq)[0].isnan().any(0).any(0))
        reach = max(reach, x - int(seen.min()) // config.scale, int(seen.max()) // config.scale - x)
    assert 0.9 * radius <= reach <= radius


def largest_offset(model: EDVR, lq: Tensor) -> int:
    """Returns how far offsets move the samples of an output pixel, in input pixels: one level's offsets plus the cascade's."""
    largest: dict[DCNPack, float] = {}
    for pack in (module for module in model.modules() if isinstance(module, DCNPack)):

        def note(module: torch.nn.Module, args: object, out: Tensor, pack: DCNPack = pack) -> None:
            largest[pack] = max(largest.get(pack, 0), out[:, : out.shape[1] * 2 // 3].abs().max().item())

        pack.conv_offset.register_forward_hook(note)
    with torch.inference_mode():
        model(lq)
    pcd = model.pcd_align
    levels = [2**k * largest[pack] for k, pack in enumerate(pcd.dcn_pack[level] for level in ("l1", "l2", "l3"))]  # type: ignore[index]
    return math.ceil((max(levels) + largest[pcd.cas_dcnpack] + 2) * model.config.size_multiple / 4)


@pytest.mark.parametrize(("config", "h", "w"), [(X4, 211, 197), (X2, 211, 197), (TINY, 61, 900)], ids=["x4", "x2", "x1"])
def test_tiles_give_the_whole_picture_where_the_pad_holds_all_that_is_seen(config: EDVRConfig, h: int, w: int) -> None:
    model, clip = random_model(config), torch.rand(5, 3, h, w)
    multiple = config.size_multiple
    lq = torch.nn.functional.pad(clip, (0, -w % multiple, 0, -h % multiple), "replicate")[None]
    pad = receptive_radius(config) + largest_offset(random_model(config), lq)
    whole = Engine(model).restore(range(5), clip.__getitem__)
    tiling = Tiling(h, w, (32, 32), pad, config)
    assert len(tiling.tiles) > 1
    tiled = Engine(model, tiling=tiling).restore(range(5), clip.__getitem__)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().max() < 1e-4
    bare = Engine(model, tiling=Tiling(h, w, (32, 32), 0, config)).restore(range(5), clip.__getitem__)
    assert (bare - whole).abs().max() > 1e-3, "this test would see tiles that lack something"


@pytest.mark.parametrize("cache_bytes", [0, 200_000, 4 << 30])
def test_pixels_do_not_depend_on_the_order_or_the_cache(cache_bytes: int) -> None:
    model, clip = random_model(X4), torch.rand(9, 3, 37, 53)
    tiling = Tiling(37, 53, (16, 16), 4, X4)
    assert len(tiling.tiles) > 4
    windows = [clip_windows(X4, 9, "reflection_circle").indices(n) for n in range(9)]
    linear = Engine(model, tiling=tiling)
    expected = [linear.restore(indices, clip.__getitem__) for indices in windows]
    other = Engine(model, tiling=tiling, cache_bytes=cache_bytes)
    for n in [8, 0, 4, 4, 3, 7, 1, 6, 5, 2]:
        loaded: list[int] = []

        def load(i: int, loaded: list[int] = loaded) -> Tensor:
            loaded.append(i)
            return clip[i]

        assert torch.equal(other.restore(windows[n], load), expected[n])
        assert len(set(loaded)) == len(loaded), "once for each frame"
        assert other.workspace.cache.nbytes <= cache_bytes


def test_the_default_pad_in_input_pixels() -> None:
    assert default_tile_pad(TINY) == 4 * default_tile_pad(X4)
