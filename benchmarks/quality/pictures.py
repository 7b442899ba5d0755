"""Makes the pictures in docs/models.md: what each embedded model makes of an input that it is for.

    python -m benchmarks.quality.pictures

The photograph is scikit-image's Chelsea the cat by Stefan van der Walt (public domain, CC0), over which a window moves by 7 and
3 pixels a frame. Each row shows the middle frame of nine: degraded, restored, original. Figures are PSNR of luma in dB of the
part that is shown. The pictures are written to docs/models.jpg.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.data import chelsea
from torch import Tensor

from benchmarks.quality.models import BLURS, HALF, WHOLE
from benchmarks.quality.sources import CASES
from vsedvr import load_model
from vsedvr.compare.drawing import GAP, labelled_row
from vsedvr.compare.metrics import psnr, rgb_to_y
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.data.resize import enlarge
from vsedvr.train.blur import Bicubic
from vsedvr.train.coding import Compression
from vsedvr.train.degradation import Degradation, degrade
from vsedvr.train.noise import Noise

FILE = Path(__file__).parents[2] / "docs" / "models.jpg"
FRAMES, MIDDLE = 9, 4
HEIGHT, WIDTH = 224, 320
SHOWN = slice(52, 172), slice(40, 248)
"""Rows and columns of the window that are shown."""

ROWS: tuple[tuple[str, str, tuple[Degradation, ...]], ...] = (
    ("small", "bicubic x4", (Bicubic(4),)),
    ("x2", "bicubic x2", (Bicubic(2),)),
    ("real", "MPEG-2, q 4", CASES["MPEG-2, q 4"]),
    ("compression_light", "H.264, crf 24", (Compression(crf=(24, 24)),)),
    ("compression", "H.264, crf 34", (Compression(crf=(34, 34)),)),
    ("deblur", "half blurred", (BLURS[HALF],)),
    ("deblur_long", "blurred", (BLURS[WHOLE],)),
    ("denoise", "noise, sigma 25", (Noise(sigma=(25, 25)),)),
)
"""Name of the model, name of its input, and how the input is made."""


def main(argv: Sequence[str] | None = None) -> None:
    """Draws all rows and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=FILE, help="where the pictures go")
    file: Path = parser.parse_args(argv).file
    clip = moving_window(chelsea())
    rows = [row(model, what, degrade(clip, steps, np.random.default_rng(0)), clip) for model, what, steps in ROWS]
    stacked(rows).save(file, quality=94, subsampling=0, optimize=True)


def moving_window(photograph: Frame) -> Tensor:
    """Returns a clip (FRAMES, 3, HEIGHT, WIDTH) in [0, 1], in which a window moves over a photograph (h, w, 3)."""
    frames = [photograph[3 * n :, 7 * n :][:HEIGHT, :WIDTH] for n in range(FRAMES)]
    return torch.stack([to_tensor(np.ascontiguousarray(frame)) for frame in frames])


def row(name: str, what: str, lq: Tensor, gt: Tensor) -> Image.Image:
    """Draws a row of three pictures: the input, what a model makes of it, and the original.

    Args:
        name: name of the model.
        what: name of the input.
        lq: degraded clip (t, 3, h, w) in [0, 1].
        gt: the clip before, (t, 3, scale * h, scale * w).
    """
    model = load_model(name).eval()
    num_frame = model.config.num_frame
    begin = MIDDLE - model.config.center
    with torch.inference_mode():
        restored = model(lq[None, begin : begin + num_frame])[0]
    scale = model.config.scale
    before = enlarge(lq[MIDDLE], scale) if scale > 1 else lq[MIDDLE]
    pictures = {what: to_frame(before.clamp(0, 1)), name: to_frame(restored.clamp(0, 1))}
    original = to_frame(gt[MIDDLE])[SHOWN]
    labels = {}
    for label, picture in pictures.items():
        value = psnr(rgb_to_y(picture[SHOWN]), rgb_to_y(original))
        labels[f"{label}: {value:.2f} dB"] = picture[SHOWN]
    print(", ".join(labels))
    return labelled_row({**labels, "original": original})


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Puts rows of the same size below each other."""
    width, height = rows[0].size
    sheet = Image.new("RGB", (width, (height + GAP) * len(rows) - GAP), "white")
    for k, picture in enumerate(rows):
        sheet.paste(picture, (0, k * (height + GAP)))
    return sheet


if __name__ == "__main__":
    main()
