"""What a training learns from: the scenes of clips, and stills."""

import logging
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vsedvr.data.find import find_clips, find_pictures
from vsedvr.data.pairs import ClipPair, open_pair
from vsedvr.model import EDVRConfig
from vsedvr.train.preset import DataConfig

__all__ = ["Scene", "find_scenes", "find_stills", "span"]

logger = logging.getLogger("vsedvr")


@dataclass(frozen=True)
class Scene:
    """A part of a clip that windows may lie in."""

    paths: tuple[Path, ...]
    """Of gt, and of lq where there is one."""
    pair: ClipPair
    start: int
    stop: int


def span(network: EDVRConfig, interval: int) -> int:
    """Frames of the clip from the first to the last of a window."""
    return 1 + (network.num_frame - 1) * interval


def find_scenes(config: DataConfig, network: EDVRConfig, root: Path, cache: Path) -> list[Scene]:
    """The scenes of all clips that the preset names; a clip that cannot be used is named in a warning and left out.

    Args:
        config, network: of the preset.
        root: folder below which its folders lie.
        cache: folder for decoded videos (see clip.open_clip).

    Raises:
        FileNotFoundError, ValueError: if a folder is not there or has no clips.
    """
    absent = [name for name in config.exclude if not (root / name).exists()]
    if absent:
        logger.warning(
            "%d of %d names in data.exclude are not there, the first is %s", len(absent), len(config.exclude), absent[0]
        )
    names = dict.fromkeys((root / config.names).read_text(encoding="utf-8").splitlines()) if config.names else None
    scenes = []
    there: set[str] = set()
    for n, folder in enumerate(config.gt):
        lq_paths = find_clips(root / config.lq[n]) if config.lq else None
        clips = find_clips(root / folder)
        there |= clips.keys()
        for name, path in clips.items():
            if f"{folder}/{name}" in config.exclude or (names is not None and name not in names):
                continue
            try:
                paths = (path, None) if lq_paths is None else (path, _counterpart(name, path, lq_paths))
                pair = open_pair(name, paths, cache, network.scale, config.max_frames)
                scenes += _scenes(pair, paths, config, network)
            except (OSError, ValueError) as error:
                logger.warning("left out: %s", error)
    missing = [name for name in names or () if name and name not in there]
    if missing:
        logger.warning("%d clips of %s are not there, the first is %s", len(missing), config.names, missing[0])
    return scenes


def find_stills(config: DataConfig, root: Path) -> list[Path]:
    """The pictures that the preset names.

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


def _scenes(pair: ClipPair, paths: tuple[Path, Path | None], config: DataConfig, network: EDVRConfig) -> list[Scene]:
    height, width = pair.gt.size
    if min(height, width) < config.patch:
        raise ValueError(f"{paths[0]} is {width}x{height}, smaller than data.patch {config.patch}")
    known = tuple(path for path in paths if path)
    limits = pairwise([*pair.gt.scene_starts(0, pair.num_frames - 1), pair.num_frames])
    shortest = span(network, min(config.interval))
    scenes = [Scene(known, pair, start, stop) for start, stop in limits if stop - start >= shortest]
    if not scenes:
        raise ValueError(f"{paths[0]} has no scene of {shortest} frames, as long as a window")
    return scenes
