"""Reads what is restored: a video file, a folder of pictures or a VapourSynth script, as facts and as a clip."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import vapoursynth as vs

from vsedvr.data.color import SD_LINES
from vsedvr.restore.facts import Source
from vsedvr.restore.pictures import picture_clip, read_pictures
from vsedvr.restore.script import read_script, script_clip
from vsedvr.restore.settings import MATRICES, RestoreSettings, parse_rate
from vsedvr.restore.video import read_film, video_clip

__all__ = ["read_source", "source_clip"]


def read_source(path: Path, settings: RestoreSettings, index: Path | None) -> Source:
    """Reads the facts of an input.

    Args:
        path: a video file, a folder of pictures, or a script that ends in .vpy.
        settings: settings of the user; fps, matrix and skip_damaged tell how to read the input.
        index: path at which the index of a video is kept, so that it opens quickly the next time, or None.

    Raises:
        ValueError: if it cannot be restored; the message says why and what to do.
        FileNotFoundError: if the path does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    source = _read(path, settings, index)
    return replace(source, props={**source.props, **_assumed_matrix(source, settings)})


def source_clip(source: Source, settings: RestoreSettings, index: Path | None) -> vs.VideoNode:
    """Opens a source as a clip, with its colour props.

    Args:
        source: facts of the source, from read_source.
        settings: settings of the user.
        index: path at which the index of a video is kept, or None.
    """
    match source.kind:
        case "pictures":
            clip = picture_clip(source.path, Fraction(*source.rate))
        case "script":
            clip = script_clip(source.path)
        case _:
            clip = video_clip(source.path, source.missing, index)
    if clip.num_frames != source.num_frames:
        raise ValueError(f"{source.path} had {source.num_frames} frames and now has {clip.num_frames}: it has changed")
    assumed = {name: value for name, value in source.props.items() if name == "_Matrix" and value}
    return clip.std.SetFrameProps(**assumed) if assumed else clip


def _read(path: Path, settings: RestoreSettings, index: Path | None) -> Source:
    if path.is_dir():
        return read_pictures(str(path), parse_rate(settings.fps or "24"))
    if settings.fps is not None:
        raise ValueError(f"fps (--fps) is for folders of pictures; {path} has its own timestamps")
    if path.suffix.lower() == ".vpy":
        return read_script(str(path))
    return read_film(str(path), index, settings.skip_damaged)


def _assumed_matrix(source: Source, settings: RestoreSettings) -> dict[str, int]:
    """Returns the prop _Matrix for a YUV source: the user's, the source's own, or else the one that players would assume."""
    if not source.format.startswith("YUV"):
        return {}
    if settings.matrix is not None:
        return {"_Matrix": MATRICES[settings.matrix]}
    if source.props.get("_Matrix", 0):
        return {}
    return {"_Matrix": MATRICES["709"] if source.height > SD_LINES else MATRICES["601"]}
