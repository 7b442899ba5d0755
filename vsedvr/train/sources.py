"""Finds the sources of training data: scenes of clips, and stills."""

import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vsedvr.data.clip import find_clips
from vsedvr.data.find import find_pictures
from vsedvr.data.pairs import open_pair
from vsedvr.model import EDVRConfig
from vsedvr.train.settings import DataConfig

__all__ = ["Scene", "find_scenes", "find_stills", "span", "told"]

logger = logging.getLogger("vsedvr")


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a clip, without cuts, from which windows can be taken.

    A data set may have a hundred thousand clips, and each worker has a copy of all scenes. So a scene has only the clip's paths
    and two numbers (about 350 bytes). A clip is opened when a window from it is needed.
    """

    gt: str
    """Path of the clip."""
    lq: str | None
    """Path of the same clip in low quality; None if the preset's degradations make it."""
    start: int
    """Number of the first frame."""
    stop: int
    """Number of the frame after the last one."""

    @property
    def paths(self) -> list[Path]:
        """Paths of the clip and, if there is one, of the same clip in low quality."""
        return [Path(path) for path in (self.gt, self.lq) if path is not None]


def span(network: EDVRConfig, interval: int) -> int:
    """Returns the number of frames from the first to the last of a window whose neighbours are `interval` frames apart."""
    return 1 + (network.num_frame - 1) * interval


def told(path: Path | str, error: Exception) -> str:
    """Describes why a file could not be used: always with its path, and with the type of an unusual error."""
    text = str(error) or type(error).__name__
    if not isinstance(error, OSError | ValueError):
        text = f"{type(error).__name__}: {error}"
    return text if str(path) in text else f"{path}: {text}"


def find_scenes(config: DataConfig, network: EDVRConfig, root: Path, cache: Path) -> list[Scene]:
    """Finds the scenes of all clips in the preset's folders. A clip that cannot be used is left out, with a warning.

    Args:
        config: folders of the clips, and form of the windows.
        network: number of frames in a window, and scale.
        root: folder that contains the preset's folders.
        cache: folder for decoded videos (see clip.open_clip).

    Raises:
        FileNotFoundError, ValueError: if a folder does not exist or has no clips.
        OSError: if the disk is full.
    """
    absent = [name for name in config.exclude if not (root / name).exists()]
    if absent:
        logger.warning(
            "%d of %d names in data.exclude are not there, the first is %s", len(absent), len(config.exclude), absent[0]
        )
    names = dict.fromkeys((root / config.names).read_text(encoding="utf-8").splitlines()) if config.names else None
    scenes: list[Scene] = []
    there: set[str] = set()
    for n, folder in enumerate(config.gt):
        lq_paths = find_clips(root / config.lq[n]) if config.lq else None
        clips = find_clips(root / folder)
        there |= clips.keys()
        for name, path in clips.items():
            if f"{folder}/{name}" in config.exclude or (names is not None and name not in names):
                continue
            try:
                lq = None if lq_paths is None else _counterpart(name, path, lq_paths)
                scenes += _scenes(path, lq, config, network, cache)
            except Exception as error:  # libraries that read files raise errors of almost any type
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                logger.warning("left out: %s", told(path, error))
    missing = [name for name in names or () if name and name not in there]
    if missing:
        logger.warning("%d clips of %s are not there, the first is %s", len(missing), config.names, missing[0])
    return scenes


def find_stills(config: DataConfig, root: Path) -> list[Path]:
    """Finds the pictures in the preset's folders.

    Raises:
        FileNotFoundError: if a folder has none.
    """
    stills = []
    for folder in config.stills:
        found = find_pictures(root / folder)
        if not found:
            raise FileNotFoundError(f"no pictures below {root / folder}")
        stills += [path for path in found if path.relative_to(root).as_posix() not in config.exclude]
    return stills


def _counterpart(name: str, path: Path, lq_paths: dict[str, Path]) -> Path:
    if name not in lq_paths:
        raise ValueError(f"{path} has no counterpart {name} in data.lq")
    return lq_paths[name]


def _scenes(gt: Path, lq: Path | None, config: DataConfig, network: EDVRConfig, cache: Path) -> Iterator[Scene]:
    """Yields the scenes of a clip that are long enough for a window.

    Raises:
        ValueError: if there is none, or the clip cannot be used for another reason.
    """
    pair = open_pair(gt.name, (gt, lq), cache, network.scale, config.max_frames)
    height, width = pair.gt.size
    if min(height, width) < config.patch:
        raise ValueError(f"{gt} is {width}x{height}, smaller than data.patch {config.patch}")
    limits = pairwise([*pair.gt.scene_starts(0, pair.num_frames - 1), pair.num_frames])
    shortest = span(network, min(config.interval))
    long_enough = [(start, stop) for start, stop in limits if stop - start >= shortest]
    if not long_enough:
        raise ValueError(f"{gt} has no scene of {shortest} frames, as long as a window")
    for start, stop in long_enough:
        yield Scene(str(gt), None if lq is None else str(lq), start, stop)
