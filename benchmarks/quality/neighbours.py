"""Measures what the neighbouring frames are worth to models that enlarge, and how near luma and colours come to the original.

    python -m benchmarks.quality.neighbours --valid data/train/valid --eval data/eval --output runs/neighbours [MODEL ...]

A model restores a frame from its window, and again with the frame itself in place of all its neighbours. What the second
picture has less in PSNR is what the neighbours are worth: what the model gains by alignment and fusion.

--valid names clips to choose weights by. Of each clip two windows count, of which the middle 384x256 pixels are used; and one
slow window, made of its first frame, in which 256x256 pixels move by 0.3 to 4 pixels a frame. All of them count once as they
are, and once with their contrast stretched 2.5 times, as far as black and white. --eval contains vid4/GT with clips for final
figures, of which all frames with a whole window count. Either may be left out. Low quality is the bicubic reduction. The table
is written to neighbours.md beside this script.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from torch import Tensor

from benchmarks.quality.clips import open_large_clip
from vsedvr import load_model
from vsedvr.atomic import write_whole
from vsedvr.compare.metrics import psnr
from vsedvr.data.clip import Clip, find_clips
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.data.resize import enlarge
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.train.blur import Bicubic
from vsedvr.train.degradation import degrade
from vsedvr.train.synthesis import moving_still

MIDDLE = (4, 16)
"""Numbers of the frames of a clip that are restored for choosing weights."""
MOVING_SIZE, SLOW_SIZE, SPEED = (256, 384), 256, (0.3, 4.0)
CONTRAST = 2.5
BORDER = 8
"""Width in pixels of the border that does not count."""
HEAD = ("model", "input", "luma", "colours", "neighbours")
TABLE = Path(__file__).with_suffix(".md")


class Gain(NamedTuple):
    """What a model gains over bicubic enlargement, and how much of it by the neighbours, in dB."""

    luma: float
    colours: float
    """The PSNR's gain for Cb and Cr together."""
    neighbours: float
    """What luma loses when the centre frame takes the places of its neighbours."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", default=["small", "x2"], help="names or files of models that enlarge")
    parser.add_argument("--valid", type=Path, help="folder of clips to choose by")
    parser.add_argument("--eval", type=Path, help="folder of the clips for final figures")
    parser.add_argument("--output", type=Path, required=True, help="folder for decoded clips")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the table goes")
    args = parser.parse_args(argv)
    if not (args.valid or args.eval):
        parser.error("give --valid, --eval or both")
    rows = []
    for name, model in {name: load_enlarger(name) for name in args.model}.items():
        for row in measure(name, model, args.valid, args.eval, args.output):
            print(markdown_row(row), flush=True)
            rows.append(row)
    write_whole(args.table, page(rows))


def load_enlarger(name: str) -> EDVR:
    """Loads a model.

    Raises:
        ValueError: if it keeps the size; the message names it.
    """
    model = load_model(name)
    if model.config.scale == 1:
        raise ValueError(f"{name} keeps the size; this measures models that enlarge")
    return model


def measure(name: str, model: EDVR, valid: Path | None, final: Path | None, cache: Path) -> Iterator[list[str]]:
    """Yields the table's rows for a model.

    Raises:
        ValueError: if a clip is too short or too small; the message names it.
    """
    if valid:
        kinds: dict[str, list[Gain]] = {}
        for kind, window in windows_to_choose_by(valid, cache, model.config):
            kinds.setdefault(kind, []).append(gain(model, window))
        means = {kind: mean(gains) for kind, gains in kinds.items()}
        yield from (_row(name, kind, gain) for kind, gain in means.items())
        yield _row(name, "mean of these", mean(means.values()))
    if final:
        for clip, windows in final_windows(final / "vid4/GT", cache, model.config):
            yield _row(name, clip, mean([gain(model, window) for window in windows]))


def windows_to_choose_by(root: Path, cache: Path, config: EDVRConfig) -> Iterator[tuple[str, Tensor]]:
    """Yields the windows (num_frame, 3, h, w) in full quality of all clips below a folder, each with its kind."""
    for seed, path in enumerate(find_clips(root).values()):
        num_frames = MIDDLE[-1] + config.num_frame - config.center
        clip = open_large_clip(path, cache, num_frames, MOVING_SIZE, num_frames)
        windows = [("moving", middle(window_of(clip, n, config))) for n in MIDDLE]
        windows.append(("slow", slow_window(clip, seed, config)))
        for kind, window in windows:
            yield kind, window
            yield f"{kind}, contrast {CONTRAST}", stretched(window)


def final_windows(root: Path, cache: Path, config: EDVRConfig) -> Iterator[tuple[str, Iterable[Tensor]]]:
    """Yields each clip's name below a folder, with its windows (num_frame, 3, h, w) in full quality."""
    for name, path in find_clips(root).items():
        clip = open_large_clip(path, cache, config.num_frame)
        inner = range(config.center, len(clip) - config.center)
        yield name, (window_of(clip, n, config) for n in inner)


def window_of(clip: Clip, n: int, config: EDVRConfig) -> Tensor:
    """Returns the window (num_frame, 3, h, w) in [0, 1] around frame n of a clip."""
    first = n - config.center
    return torch.stack([to_tensor(clip[k]) for k in range(first, first + config.num_frame)])


def middle(window: Tensor) -> Tensor:
    """Cuts the middle out of a window, at a multiple of 4 so that it can be reduced by 2 and by 4."""
    height, width = MOVING_SIZE
    top, left = ((side - size) // 8 * 4 for side, size in zip(window.shape[-2:], MOVING_SIZE, strict=True))
    return window[..., top : top + height, left : left + width]


def slow_window(clip: Clip, seed: int, config: EDVRConfig) -> Tensor:
    """Makes a window (num_frame, 3, SLOW_SIZE, SLOW_SIZE) of a clip's first frame, which moves slowly; the seed decides how."""
    times = np.arange(config.num_frame, dtype=np.float64) - config.center
    frames = moving_still(clip[0], times, SLOW_SIZE, SPEED, np.random.default_rng(seed))
    return torch.stack([to_tensor(frame) for frame in frames])


def stretched(window: Tensor) -> Tensor:
    """Stretches the contrast of a window around its mean, in multiples of 1 / 255."""
    mean = window.mean()
    return ((window - mean) * CONTRAST + mean).clamp(0, 1).mul(255).round() / 255


@torch.inference_mode()
def gain(model: EDVR, window: Tensor) -> Gain:
    """Measures a model on a window in full quality (num_frame, 3, h, w), which is reduced for it."""
    scale, center = model.config.scale, model.config.center
    lq = degrade(window, [Bicubic(scale)], np.random.default_rng(0))
    still = lq[[center] * len(lq)]
    gt = _ycbcr(window[center])
    before, restored, alone = (
        _ycbcr(picture) for picture in (enlarge(lq[center], scale), model(lq[None])[0], model(still[None])[0])
    )

    def gained(a: NDArray[np.float64], b: NDArray[np.float64], planes: slice) -> float:
        return psnr(a[..., planes], gt[..., planes]) - psnr(b[..., planes], gt[..., planes])

    luma, colours = slice(1), slice(1, 3)
    return Gain(gained(restored, before, luma), gained(restored, before, colours), gained(restored, alone, luma))


def mean(gains: Iterable[Gain]) -> Gain:
    """Returns the mean of gains."""
    return Gain(*map(float, np.mean(list(gains), axis=0)))


def _ycbcr(picture: Tensor) -> NDArray[np.float64]:
    """Converts a picture (3, h, w), rounded to 8 bits, to Y, Cb and Cr of BT.601 (h, w, 3), without its borders."""
    inside = slice(BORDER, -BORDER)
    converted: NDArray[np.float64] = rgb2ycbcr(to_frame(picture.clamp(0, 1)))
    return converted[inside, inside]


def _row(name: str, what: str, gain: Gain) -> list[str]:
    return [Path(name).stem, what, f"{gain.luma:+.3f}", f"{gain.colours:+.3f}", f"{gain.neighbours:.3f}"]


def page(rows: Sequence[list[str]]) -> str:
    """Returns the Markdown page with the table: what was measured, and how to measure it again."""
    return f"""# What the neighbours are worth, and how near the colours come
Gain in PSNR over bicubic enlargement in dB, of luma and of the colours (Cb and Cr); and how much of luma's the neighbours are
worth: what is lost when the centre frame takes their places. The mean over windows; the outer {BORDER} pixels do not count.
Moving and slow windows, as they are and with stretched contrast, are of clips that weights are chosen by; calendar and walk
are clips for final figures. By `python -m benchmarks.quality.neighbours` (with --valid, --eval and --output).

{markdown_table([HEAD, *rows])}
"""


if __name__ == "__main__":
    main()
