"""Training samples: chooses frames, patch and orientation. Every sample depends only on its number."""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vsedvr.data.clip import Clip, Frame, fingerprint
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.model import EDVRConfig
from vsedvr.train.blur import Bicubic, MotionBlur
from vsedvr.train.degradation import Degradation, degrade
from vsedvr.train.preset import Preset
from vsedvr.train.settings import DataConfig
from vsedvr.train.sources import Scene, find_scenes, find_stills, span, told
from vsedvr.train.stills import StillCache
from vsedvr.train.synthesis import moving_still

__all__ = ["TrainingData"]

ATTEMPTS = 20
"""Number of sources tried for one sample before the training is given up."""

STILL_BYTES = 512 << 20
"""Maximum size in bytes of the pictures that each worker keeps: 60 of DIV2K, or 7 of 24 megapixels."""

OPEN_CLIPS = 128
"""Number of clips that each worker keeps open, with the names of their frames or the index of a decoded video."""

logger = logging.getLogger("vsedvr")


class TrainingData(Dataset[tuple[Tensor, Tensor]]):
    """Training samples: windows of low-quality frames, each with its centre frame in high quality.

    Sample k depends only on the preset, the seed and k, not on the process that makes it or on the samples before. So a
    training that is resumed, or spread over several processes, sees exactly the same data.
    """

    def __init__(self, preset: Preset, root: Path, cache: Path) -> None:
        """
        Args:
            preset: its data, degradation, network and train.seed decide what the samples are.
            root: folder that contains the preset's folders.
            cache: folder for decoded videos (see clip.open_clip).

        Raises:
            FileNotFoundError, ValueError: if there is nothing to train on; the message names the folders that were searched.
        """
        self.preset, self.root, self.cache = preset, root, cache
        self.warned: set[str] = set()
        """Reasons that this process has already logged as warnings."""
        self.scenes = find_scenes(preset.data, preset.network, root, cache)
        self.stills = find_stills(preset.data, root)
        if not self.scenes and not self.stills:
            raise ValueError(f"nothing to train on below {root}: data.gt is {preset.data.gt}, data.stills {preset.data.stills}")
        lengths = np.array([scene.stop - scene.start for scene in self.scenes], np.float64)
        self.scene_shares = lengths / lengths.sum() if self.scenes else lengths

    def __len__(self) -> int:
        """Number of samples in the whole training."""
        return self.preset.train.iterations * self.preset.train.batch

    @functools.cached_property
    def digest(self) -> str:
        """Returns a hash of all training data (see clip.fingerprint). It reads all videos and stills, which takes a while."""
        prints = {path: _fingerprint(path) for path in dict.fromkeys(self._paths())}
        lines = [f"{path.name} {prints[path]}" for path in self._paths()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _paths(self) -> Iterator[Path]:
        for scene in self.scenes:
            yield from scene.paths
        yield from self.stills

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        """Makes sample k.

        A source that cannot be read is named in a warning, and another one is used instead.

        Returns:
            lq (num_frame, 3, patch / scale, patch / scale) and gt (3, patch, patch), float32 in [0, 1].

        Raises:
            ValueError: if 20 sources in a row cannot be read; the message has the last reason.
        """
        rng = np.random.default_rng([self.preset.train.seed, k])
        failure: Exception | None = None
        for _ in range(ATTEMPTS):
            source = self._choose(rng)
            try:
                return self._sample(source, rng)
            except Exception as error:  # libraries that read files raise errors of almost any type
                failure = error
                reason = told(source if isinstance(source, Path) else source.gt, error)
                self._warn(reason)
        raise ValueError(f"{ATTEMPTS} clips or pictures in a row could not be used, the last: {reason}") from failure

    def _warn(self, reason: str) -> None:
        """Logs a warning, but only once for each reason."""
        if reason not in self.warned:
            logger.warning("skipped: %s", reason)
        self.warned.add(reason)

    def _choose(self, rng: np.random.Generator) -> Scene | Path:
        share = self.preset.data.stills_share if self.scenes and self.stills else float(not self.scenes)
        if rng.random() < share:
            return self.stills[rng.integers(len(self.stills))]
        return self.scenes[rng.choice(len(self.scenes), p=self.scene_shares)]

    def _sample(self, source: Scene | Path, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return self._of_still(source, rng) if isinstance(source, Path) else self._of_scene(source, rng)

    def _of_scene(self, scene: Scene, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        config, network = self.preset.data, self.preset.network
        pair = _open(scene.gt, scene.lq, self.cache, network.scale, config.max_frames)
        gt, lq = _window(scene, pair, config, network, rng)
        turn = _Turn.draw(rng)
        if lq is not None:
            return turn(lq), turn(gt)[0]
        gt_window = self._as_master(_with_contrast(turn(gt), config.contrast, rng), rng)
        return degrade(gt_window, self._steps(rng), rng), gt_window[network.center].clone()

    def _of_still(self, path: Path, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Makes a sample from a moving still.

        If motion blur is the first degradation, it is rendered from the known motion, including what this covers and uncovers.
        """
        config, network = self.preset.data, self.preset.network
        blur, steps = _split_off_blur(self._steps(rng))
        exposure = blur.times(rng) if blur else np.zeros(1)
        times = np.add.outer(np.arange(network.num_frame) - network.center, exposure)
        frames = moving_still(_stills.read(path), times.ravel(), config.patch, config.speed, rng)
        views = self._as_master(_with_contrast(_Turn.draw(rng)(frames), config.contrast, rng), rng)
        views = views.reshape(*times.shape, *views.shape[1:])
        window = blur.mean(views) if blur else views[:, 0]
        return degrade(window, steps, rng), views[network.center, len(exposure) // 2].clone()

    def _as_master(self, gt: Tensor, rng: np.random.Generator) -> Tensor:
        """Degrades the ground truth itself (t, 3, h, w), for the share of the windows that the preset tells."""
        steps = self.preset.gt_degradation
        return degrade(gt, steps, rng) if steps and rng.random() < self.preset.data.gt_degradation_share else gt

    def _steps(self, rng: np.random.Generator) -> Sequence[Degradation]:
        """Returns the degradations of a window: those of the preset, or for a share of them only a bicubic reduction."""
        share = self.preset.data.clean_share
        if share > 0 and rng.random() < share:
            return [Bicubic(self.preset.network.scale)]
        return self.preset.degradation


def _split_off_blur(steps: Sequence[Degradation]) -> tuple[MotionBlur | None, Sequence[Degradation]]:
    first = steps[0] if steps else None
    return (first, steps[1:]) if isinstance(first, MotionBlur) else (None, steps)


_stills = StillCache(STILL_BYTES)


@functools.lru_cache(OPEN_CLIPS)
def _open(gt: str, lq: str | None, cache: Path, scale: int, max_frames: int) -> ClipPair:
    return open_pair(Path(gt).name, (Path(gt), None if lq is None else Path(lq)), cache, scale, max_frames)


def _fingerprint(path: Path) -> str:
    try:
        return fingerprint(path)
    except OSError:  # it is named in a warning when a sample needs it
        return "unreadable"


def _window(
    scene: Scene, pair: ClipPair, config: DataConfig, network: EDVRConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Cuts the patches of a window out of a scene.

    Returns:
        gt and lq. Without low quality on disk, all frames of gt (t, patch, patch, 3) and None. With it, gt's centre frame
        (1, patch, patch, 3) and all frames of lq (t, patch / scale, patch / scale, 3).
    """
    room = scene.stop - scene.start
    intervals = [i for i in config.interval if span(network, i) <= room]
    interval = intervals[rng.integers(len(intervals))]
    first = scene.start + int(rng.integers(room - span(network, interval) + 1))
    numbers = range(first, first + span(network, interval), interval)
    if config.reverse and rng.random() < 0.5:
        numbers = numbers[::-1]

    reduce = np.exp(rng.uniform(0, np.log(min(config.reduce, min(pair.gt.size) / config.patch))))
    size = int(config.patch * reduce)
    scale = network.scale if pair.lq else 1  # corners that both pictures have
    top, left = (scale * int(rng.integers((side - size) // scale + 1)) for side in pair.gt.size)
    if pair.lq:
        lq = np.stack([_cut(pair.lq, n, top // scale, left // scale, size // scale) for n in numbers])
        return _cut(pair.gt, numbers[network.center], top, left, size)[None], lq
    gt = [_cut(pair.gt, n, top, left, size) for n in numbers]
    return np.stack([cv2.resize(frame, (config.patch, config.patch), interpolation=cv2.INTER_AREA) for frame in gt]), None


def _cut(clip: Clip, n: int, top: int, left: int, size: int) -> Frame:
    frame = clip[n]
    if frame.shape[:2] != clip.size:
        raise ValueError(f"frame {n} is {frame.shape[1]}x{frame.shape[0]}, the first is {clip.size[1]}x{clip.size[0]}")
    return frame[top : top + size, left : left + size]


def _with_contrast(window: Tensor, contrast: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """Raises the contrast of a window (t, 3, h, w) in [0, 1] about its mean brightness and rounds it to 8 bits."""
    factor, mean = float(np.exp(rng.uniform(*np.log(contrast)))), window.mean()
    return (((window - mean) * factor + mean).clamp(0, 1) * 255).round() / 255


@dataclass(frozen=True)
class _Turn:
    """One of the eight ways to turn and flip a square, the same for all frames of a window."""

    transpose: bool
    flip_y: bool
    flip_x: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Turn":
        return cls(*(rng.random(3) < 0.5))

    def __call__(self, window: NDArray[np.uint8]) -> Tensor:
        """Turns a window (t, h, w, 3), uint8; gives (t, 3, h, w), float32 in [0, 1]."""
        axes = [axis for axis, flip in ((1, self.flip_y), (2, self.flip_x)) if flip]
        window = np.flip(window, tuple(axes))
        window = window.transpose((0, 3, 2, 1) if self.transpose else (0, 3, 1, 2))
        return torch.from_numpy(np.ascontiguousarray(window)).float() / 255
