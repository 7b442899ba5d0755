"""Makes the picture in the README: python examples/picture.py OUT.png

The photograph is scikit-image's Chelsea the cat by Stefan van der Walt (public domain, CC0). A window of 400x264 moves over
it by 1.5 and 0.75 pixels a frame; the frames are made four times smaller, and the middle one is enlarged.
"""

import sys
from pathlib import Path

import numpy as np
import vapoursynth as vs
from PIL import Image
from skimage.data import chelsea

import vsedvr
from demo import quality
from vsedvr.compare.drawing import labelled_row

FRAMES, WIDTH, HEIGHT = 15, 400, 264


def main(path: Path) -> None:
    photograph = clip_of(chelsea())
    moving = [
        photograph.resize.Bicubic(WIDTH, HEIGHT, src_left=2 + 1.5 * n, src_top=2 + 0.75 * n, **size()) for n in range(FRAMES)
    ]
    original = vs.core.std.Splice(moving)
    small = original.resize.Bicubic(WIDTH // 4, HEIGHT // 4, filter_param_a=0, filter_param_b=0.5)
    clips = {"Lanczos": small.resize.Lanczos(WIDTH, HEIGHT), "EDVR small": vsedvr.edvr(small), "original": original}
    pictures = {name: picture_of(clip, FRAMES // 2) for name, clip in clips.items()}
    for name in ("Lanczos", "EDVR small"):
        psnr, ssim = quality(gray(pictures["original"]), gray(pictures[name]))
        print(f"{name}: {psnr:.2f} dB, SSIM {ssim:.4f} (luma)")
    labelled_row(pictures).save(path, optimize=True)


def size() -> dict[str, int]:
    return {"src_width": WIDTH, "src_height": HEIGHT}


def clip_of(picture: np.ndarray) -> vs.VideoNode:
    height, width, _ = picture.shape
    blank = vs.core.std.BlankClip(format=vs.RGB24, width=width, height=height, length=1)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(out[plane]), picture[..., plane])
        return out

    return blank.std.ModifyFrame(blank, fill)


def picture_of(clip: vs.VideoNode, n: int) -> np.ndarray:
    frame = clip.get_frame(n)
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], -1)


def gray(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L")).astype(np.float64)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
