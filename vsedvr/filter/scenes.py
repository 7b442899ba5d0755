"""Scene cuts in the graph: luma differences of the clip, and what the frame props say."""

from collections.abc import Iterator, Sequence

import vapoursynth as vs

from vsedvr.filter.places import pick
from vsedvr.timeline import is_cut

__all__ = ["has_scene_props", "pick_differences", "scene_starts"]


def has_scene_props(props: vs.FrameProps) -> bool:
    return "_SceneChangePrev" in props or "_SceneChangeNext" in props


def pick_differences(clip: vs.VideoNode, windows: list[list[int]]) -> list[vs.VideoNode]:
    """Clips of luma differences: for each n those of the window's first frame up to the one after its last."""
    luma = clip
    if clip.format.color_family == vs.RGB:
        luma = clip.resize.Point(format=vs.GRAY8, matrix=vs.MATRIX_BT709)
    differences = luma.std.PlaneStats(luma[0] + luma[:-1] if luma.num_frames > 1 else luma, prop="_EDVR")
    spans = [(min(window), min(max(window) + 1, clip.num_frames - 1)) for window in windows]
    return [pick(differences, [min(first + k, last) for first, last in spans]) for k in range(len(windows[0]) + 1)]


def scene_starts(frames: dict[int, vs.VideoFrame], differences: Sequence[vs.VideoFrame]) -> Iterator[int]:
    """Numbers of the frames in a window that begin a scene, by their props or by the luma differences.

    Args:
        frames: the window's frames by number; they are successive.
        differences: those of the window's first frame up to the one after its last; none to go by the props alone.
    """
    first, last = min(frames), max(frames)
    luma = [frame.props["_EDVRDiff"] for frame in differences]
    for k, i in enumerate(range(first + 1, last + 1)):
        marks = [frames[i].props.get("_SceneChangePrev"), frames[i - 1].props.get("_SceneChangeNext")]
        marked = any(mark is not None for mark in marks)
        if any(marks) if marked else luma and is_cut(luma[k : k + 1], luma[k + 1], luma[k + 2 : k + 3]):
            yield i
