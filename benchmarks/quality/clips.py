"""Opens clips for measuring, if they are long and large enough."""

from pathlib import Path

from vsedvr.data.clip import Clip, open_clip

__all__ = ["open_large_clip"]


def open_large_clip(
    path: Path, cache: Path, least_frames: int, least_size: tuple[int, int] = (1, 1), max_frames: int | None = None
) -> Clip:
    """Opens a clip.

    Args:
        path: video or folder of frames.
        cache: folder for decoded videos.
        least_frames: number of frames that it must have.
        least_size: height and width in pixels that it must have.
        max_frames: maximum number of frames of a video, from its beginning.

    Raises:
        ValueError: if it is too short or too small; the message names it.
    """
    clip = open_clip(path, cache, max_frames)
    (height, width), (least_height, least_width) = clip.size, least_size
    if len(clip) < least_frames or height < least_height or width < least_width:
        needed = f"{least_frames} of {least_width}x{least_height} are the least"
        raise ValueError(f"{path} has {len(clip)} frames of {width}x{height}; {needed}")
    return clip
