"""Reads a folder of pictures as a clip."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import vapoursynth as vs

from vsedvr.data.clip import FrameFolder
from vsedvr.restore.facts import Source

__all__ = ["picture_clip", "picture_files", "picture_names", "read_pictures"]


def read_pictures(path: str, rate: Fraction) -> Source:
    """Reads the facts of a folder of pictures. They are ordered by the numbers in their names (im2 before im10).

    Args:
        path: path of the folder.
        rate: frames per second of the film.

    Raises:
        ValueError: if there are no pictures, or the first cannot be read.
    """
    clip = picture_clip(path, rate)
    return Source(
        kind="pictures",
        path=path,
        width=clip.width,
        height=clip.height,
        format=clip.format.name,
        rate=rate.as_integer_ratio(),
        constant_rate=True,
        time_base=(1 / rate).as_integer_ratio(),
        timestamps=list(range(clip.num_frames)),
        end=clip.num_frames,
        origin=0,
        aspect=(1, 1),
        props={"_Matrix": 0, "_Range": 1},
        hdr={},
        missing=[],
        key_frames=[],
    )


def picture_clip(path: str, rate: Fraction) -> vs.VideoNode:
    """Makes a clip of the pictures in a folder: RGB24, or RGB48 if the first picture has more than 8 bits.

    A picture is read when its frame is requested. If it cannot be read or has another size than the first, the request raises
    vapoursynth.Error, whose message names the picture.
    """
    files = picture_files(Path(path))
    first = _decode(files[0])
    deep = any(component.bits > 8 for component in first.format.components)
    blank = vs.core.std.BlankClip(
        width=first.width,
        height=first.height,
        format=vs.RGB48 if deep else vs.RGB24,
        length=len(files),
        fpsnum=rate.numerator,
        fpsden=rate.denominator,
        keep=True,
    )

    def read(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        picture = _decode(files[n])
        if (picture.width, picture.height) != (first.width, first.height):
            raise ValueError(
                f"{files[n]} has {picture.width}x{picture.height} pixels, {files[0].name} {first.width}x{first.height}; "
                "all pictures must be of one size"
            )
        samples = picture.to_ndarray(format="rgb48le" if deep else "rgb24")
        frame = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(frame[plane]), samples[..., plane])
        return frame

    return blank.std.ModifyFrame(blank, read)


def picture_names(path: str) -> list[str]:
    """Returns the names of the pictures without suffix, in the order of the clip."""
    return [file.stem for file in picture_files(Path(path))]


def picture_files(folder: Path) -> list[Path]:
    """Returns the paths of the pictures in a folder, in the order of the clip.

    Raises:
        ValueError: if there are none.
    """
    return [folder / name for name in FrameFolder(folder).names]


def _decode(path: Path) -> av.VideoFrame:
    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration, IndexError) as error:
        raise ValueError(f"cannot read the picture {path}: {error}") from error
