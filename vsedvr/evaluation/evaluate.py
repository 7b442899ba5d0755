"""Evaluation: clips through the engine that the filter runs, and how near to the ground truth they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from vsedvr.atomic import whole_folder
from vsedvr.data.clip import Frame
from vsedvr.data.pairs import Pair, to_frame, to_tensor
from vsedvr.data.resize import enlarge
from vsedvr.evaluation.metrics import Protocol, Score
from vsedvr.infer import Engine, build_engine, clip_windows
from vsedvr.model import EDVR
from vsedvr.timeline import within_scene

__all__ = ["Restore", "Restorer", "Scores", "baseline", "baseline_name", "check_not_saved", "evaluate", "mean_score"]

Restore = Callable[[Pair, int], Frame]
"""Gives the restored frame of a number in a clip."""

Scores = Mapping[int, Score]
"""By frame number."""


class _Running(NamedTuple):
    """The engine while it goes through a clip."""

    pair: Pair
    size: tuple[int, int]
    engine: Engine
    first_number: int
    """The engine's number of the clip's first frame: it keeps features by number, so numbers go on from clip to clip."""


class Restorer:
    """One model, which restores frames as the filter does: windows, padding, scenes, tiles and 8-bit output."""

    def __init__(
        self,
        model: EDVR,
        device: torch.device,
        dtype: torch.dtype,
        padding: str | None = None,
        tile: tuple[int, int] | None = None,
    ) -> None:
        """
        Args:
            model: the network.
            device, dtype: of the engine.
            padding: one of timeline.PADDINGS; by default what models of the kind are tested with.
            tile: (width, height) of tiles, (0, 0) for none; by default what the free memory allows.
        """
        self.model = model
        self.device = device
        self.dtype = dtype
        self.padding = padding
        self.tile = tile
        self.running: _Running | None = None

    def __call__(self, pair: Pair, n: int) -> Frame:
        if self.running is None or self.running.pair is not pair:
            self.running = self._start(pair)
        first = self.running.first_number
        window = clip_windows(self.model.config, pair.num_frames, self.padding).indices(n)
        numbers = [first + i for i in within_scene(window, n, pair.scene_starts)]
        return to_frame(self.running.engine.restore(numbers, lambda number: to_tensor(pair.lq_frame(number - first))))

    def _start(self, pair: Pair) -> _Running:
        height, width = pair.lq_frame(0).shape[:2]
        before = self.running
        if before and before.size == (height, width):
            return _Running(pair, before.size, before.engine, before.first_number + before.pair.num_frames)
        engine = build_engine(self.model, self.device, self.dtype, (height, width), self.tile)
        return _Running(pair, (height, width), engine, 0)


def baseline_name(scale: int) -> str:
    return "input" if scale == 1 else "bicubic"


def baseline(pair: Pair, n: int) -> Frame:
    """What needs no model: MATLAB's bicubic enlargement, or the input itself where it has the output's size."""
    lq = pair.lq_frame(n)
    return lq if pair.scale == 1 else to_frame(enlarge(to_tensor(lq), pair.scale).clamp(0, 1))


def evaluate(
    restore: Restore,
    pairs: Sequence[Pair],
    protocol: Protocol,
    save: Path | None = None,
    on_frame: Callable[[Pair, int, Frame], None] = lambda pair, n, restored: None,
) -> dict[str, Scores]:
    """Restores clips and measures them.

    Args:
        restore: a Restorer, or the baseline.
        pairs: the clips.
        protocol: what counts. Frames that do not are restored only to be saved.
        save: folder for all restored frames, <save>/<clip>/00000000.png and so on: the input of a second stage. A clip
            appears there when it is complete.
        on_frame: is called with every restored frame.

    Returns:
        Scores by clip and frame number.

    Raises:
        FileExistsError: if a clip is in the folder already.
    """
    if save:
        check_not_saved(save, pairs)
    scores: dict[str, Scores] = {}
    for pair in pairs:
        counted = protocol.counted(pair.num_frames)
        of_clip = scores[pair.name] = dict[int, Score]()
        with _saving(save, pair.name) as folder:
            for n in range(pair.num_frames) if folder else counted:
                restored = restore(pair, n)
                if folder:
                    Image.fromarray(restored).save(folder / f"{n:08}.png", compress_level=3)
                if n in counted:
                    of_clip[n] = protocol.measure(restored, pair.gt_frame(n))
                on_frame(pair, n, restored)
    return scores


def check_not_saved(save: Path, pairs: Iterable[Pair]) -> None:
    """
    Raises:
        FileExistsError: if one of the clips is in the folder already.
    """
    for pair in pairs:
        if (save / pair.name).exists():
            raise FileExistsError(f"{save / pair.name} exists already; remove it, or save to another folder")


def mean_score(scores: Iterable[Score]) -> Score:
    psnr, ssim = np.mean([*scores], axis=0)
    return Score(float(psnr), float(ssim))


@contextmanager
def _saving(save: Path | None, name: str) -> Iterator[Path | None]:
    """A folder to write a clip to, which takes its place when all is written; None where nothing is saved."""
    if save is None:
        yield None
        return
    with whole_folder(save / name) as temporary:
        yield temporary
