"""Finds clips and pictures: which files count, in which order, and which low quality belongs to which ground truth."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "PICTURES",
    "VIDEOS",
    "PairPaths",
    "find_clips",
    "find_pairs",
    "find_pictures",
    "fingerprint",
    "is_foreign",
    "picture_names",
]

PICTURES = frozenset([".bmp", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
"""Suffixes of picture files, in lower case."""

VIDEOS = (
    {".avi", ".divx", ".f4v", ".flv", ".gif", ".m4v", ".mk3d", ".mkv", ".mov", ".mp4", ".nut", ".ogm", ".ogv", ".qt", ".webm"}
    | {".3g2", ".3gp", ".amv", ".asf", ".dv", ".m2ts", ".mod", ".mts", ".mxf", ".rm", ".rmvb", ".tod", ".wmv", ".wtv"}
    | {".m2p", ".m2t", ".mpe", ".mpeg", ".mpg", ".mpv", ".ts", ".vob", ".m1v", ".m2v"}
    | {".264", ".265", ".av1", ".avc", ".h264", ".h265", ".hevc", ".ivf", ".mjpeg", ".mjpg", ".obu", ".y4m"}
)
"""Suffixes of video files, in lower case."""

FOREIGN = frozenset(
    {"__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini"}
)
"""Lower-case names of files and folders that systems and network drives put into a folder of clips. They are ignored."""

PairPaths = dict[str, tuple[Path, Path | None]]
"""Paths of ground truth and low quality by the clip's name. If low quality is None, it is made from the ground truth."""

logger = logging.getLogger("vsedvr")


def is_foreign(name: str) -> bool:
    """Tells whether a file or folder is hidden or the operating system's, such as ._0001.png, .DS_Store or __MACOSX."""
    return name.startswith(".") or name.lower() in FOREIGN


def picture_names(folder: Path) -> list[str]:
    """Returns the names of the pictures in a folder, ordered by the numbers in them (im2 before im10), without hidden files."""
    with os.scandir(folder) as entries:
        return sorted((entry.name for entry in entries if _is_picture(entry.name)), key=_natural)


def find_clips(root: Path) -> dict[str, Path]:
    """Finds all clips below a folder: video files, and folders that hold pictures.

    If root is itself a video or holds pictures, it is the only clip, under its own name. Hidden files and folders are left
    out. Files of other kinds are left out too; a line in the log (level INFO) names their suffixes.

    Returns:
        Paths by the clip's path below root.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if nothing below it is a clip.
    """
    if not root.exists():
        raise FileNotFoundError(f"no clip or folder of clips at {root}")
    if root.is_file() or picture_names(root):
        return {root.name: root}
    found: list[Path] = []
    others: set[str] = set()
    for folder, files in _walk(root):
        found += [folder / name for name in files if Path(name).suffix.lower() in VIDEOS]
        if any(map(_is_picture, files)):
            found.append(folder)
        others |= {Path(name).suffix or name for name in files if Path(name).suffix.lower() not in PICTURES | VIDEOS}
    kinds = ", ".join(sorted(others))
    if not found:
        there = f"; files of other kinds are there: {kinds}" if others else ""
        raise ValueError(f"neither video files ({', '.join(sorted(VIDEOS))}) nor folders of pictures below {root}{there}")
    if others:
        logger.info("not looked at below %s: files that are neither pictures nor videos by their names (%s)", root, kinds)
    return {path.relative_to(root).as_posix(): path for path in sorted(found, key=_natural)}


def find_pictures(root: Path) -> list[Path]:
    """Finds all pictures below a folder, recursively, in the order of their paths; hidden files are left out."""
    return sorted(folder / name for folder, files in _walk(root) for name in files if _is_picture(name))


def find_pairs(gt: Path, lq: Path | None) -> PairPaths:
    """Finds all clips below a folder, or a single clip, and the low quality of each, which has the same name.

    Args:
        gt: path of the ground truth: a video, a folder of pictures, or a folder of clips.
        lq: path of the same clips in low quality, or None.

    Raises:
        FileNotFoundError: if there is no clip.
        ValueError: if a clip has no counterpart; the message names it.
    """
    gt_clips = _by_stem(gt)
    if lq is None:
        return {name: (path, None) for name, path in gt_clips.items()}
    lq_clips = _by_stem(lq)
    if gt in gt_clips.values() and lq in lq_clips.values():
        return {next(iter(gt_clips)): (gt, lq)}  # a single clip each, which match whatever their names
    alone = sorted(gt_clips.keys() ^ lq_clips.keys())
    if alone:
        lacking, holding = (lq, gt) if alone[0] in gt_clips else (gt, lq)
        raise ValueError(f"clips pair by their names: {alone[0]!r} is in {holding} but not in {lacking}")
    return {name: (path, lq_clips[name]) for name, path in gt_clips.items()}


def fingerprint(path: Path) -> str:
    """Returns a hash that tells whether data has changed: of a file's content, or of names and sizes of a folder's pictures."""
    if path.is_dir():
        lines = (f"{name} {(path / name).stat().st_size}" for name in sorted(picture_names(path)))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields folders and the names of their files, without foreign ones. Linked folders are entered, but never in a circle."""
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not is_foreign(name) and not _leads_back(here / name))
        yield here, [name for name in files if not is_foreign(name)]


def _leads_back(folder: Path) -> bool:
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _by_stem(root: Path) -> dict[str, Path]:
    """Finds clips by name, videos without their suffix, so that walk.mp4 pairs with walk.mkv or with a folder walk."""
    clips: dict[str, Path] = {}
    for name, path in find_clips(root).items():
        stem = name.removesuffix(path.suffix) if path.is_file() else name
        if stem in clips:
            raise ValueError(f"{clips[stem]} and {path} have the same name; clips pair by their names")
        clips[stem] = path
    return clips


def _is_picture(name: str) -> bool:
    return not is_foreign(name) and os.path.splitext(name)[1].lower() in PICTURES


def _natural(path: str | Path) -> list[str | int]:
    """Returns a key that sorts 2 before 10: text and numbers alternate, so that text is compared only with text."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", str(path)))]
