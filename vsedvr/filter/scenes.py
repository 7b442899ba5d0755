"""Finds scene cuts in the graph: puts a prop on every frame that tells whether a scene begins with it.

Props that the source frames have already take precedence. Only for frames without them are the pictures compared. Only if two
pictures differ much are REACH more frames on either side rendered early, to compare the change with those around it. All this
travels on frames of one pixel, so that the cache stays small.
"""

import vapoursynth as vs

from vsedvr.timeline import REACH, is_cut

__all__ = ["SCENE_START", "begins_scene", "mark_scene_starts"]

SCENE_START = "_EDVRSceneStart"
DIFFERENCE = "_EDVRDiff"
PREV = "_SceneChangePrev"
NEXT = "_SceneChangeNext"

KEPT = 64
"""Number of one-pixel frames to cache: enough for a window, REACH frames on either side, and concurrent requests."""


def mark_scene_starts(clip: vs.VideoNode, tagged: vs.VideoNode) -> vs.VideoNode:
    """Makes a clip of one-pixel frames whose prop SCENE_START is 1 if a scene begins with the frame, else 0.

    Args:
        clip: source clip, with the props _SceneChangePrev and _SceneChangeNext on frames where a detector has set them.
        tagged: source clip with the props that the resizer needs (see tags.py).
    """
    pixel = clip.std.BlankClip(width=1, height=1, format=vs.GRAY8, keep=True)
    no, yes = (pixel.std.SetFrameProps(**{SCENE_START: value}) for value in (0, 1))
    marks = _kept(pixel.std.CopyFrameProps(clip, props=[PREV, NEXT]))
    detected = _detected(tagged, pixel, no)

    def by_props(n: int, f: list[vs.VideoFrame]) -> vs.VideoNode:
        mark = _mark(*f)
        return detected if mark is None else yes if mark else no

    return _kept(no.std.FrameEval(by_props, prop_src=[marks, _later(marks, 1, pixel)]))


def begins_scene(frame: vs.VideoFrame) -> bool:
    """Tells whether a frame's prop SCENE_START says that a scene begins with it; False if there is no such prop."""
    return bool(frame.props.get(SCENE_START, 0))


def _mark(frame: vs.VideoFrame, previous: vs.VideoFrame) -> bool | None:
    """Reads from the props whether there is a cut before a frame; None if there are no such props or they are not numbers."""
    marks = (frame.props.get(PREV), previous.props.get(NEXT))
    numbers = [mark for mark in marks if isinstance(mark, int | float)]
    return any(number > 0 for number in numbers) if numbers else None


def _detected(tagged: vs.VideoNode, pixel: vs.VideoNode, no: vs.VideoNode) -> vs.VideoNode:
    """Makes a clip of one-pixel frames with the prop SCENE_START, from the differences of successive pictures."""
    here = _differences(tagged, pixel)
    before = [_later(here, k, pixel) for k in range(1, REACH + 1)]
    after = [_earlier(here, k, pixel) for k in range(1, REACH + 1)]
    limited = _limited_scale(tagged.format)

    def difference(frame: vs.VideoFrame) -> float:
        """Difference to the frame before, from 0 to 1 (black to white); 0 for frames before the first and after the last."""
        scale = limited if frame.props.get("_Range") == vs.RANGE_LIMITED else 1.0
        return scale * frame.props.get(DIFFERENCE, 0.0)

    def judge(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        changes = [difference(frame) for frame in f]
        frame = f[0].copy()
        frame.props[SCENE_START] = int(is_cut(changes[1 : REACH + 1], changes[0], changes[REACH + 1 :]))
        return frame

    judged = pixel.std.ModifyFrame([here, *before, *after], judge)

    def by_difference(n: int, f: vs.VideoFrame) -> vs.VideoNode:
        return judged if is_cut((), difference(f), ()) else no  # too small a difference is no cut, whatever is around it

    return no.std.FrameEval(by_difference, prop_src=here)


def _differences(tagged: vs.VideoNode, pixel: vs.VideoNode) -> vs.VideoNode:
    """Makes one-pixel frames that carry the mean absolute difference of luma to the frame before, and the luma's range."""
    luma = tagged
    if tagged.format.color_family == vs.RGB:
        luma = tagged.resize.Point(format=vs.GRAY8, matrix=vs.MATRIX_BT709, range=vs.RANGE_FULL)
    differences = luma.std.PlaneStats(_later(luma, 1, luma), prop=DIFFERENCE.removesuffix("Diff"))
    return _kept(pixel.std.CopyFrameProps(differences, props=[DIFFERENCE, "_Range"]))


def _kept(pixels: vs.VideoNode) -> vs.VideoNode:
    """Gives small frames a cache of their own, so that they stay when the core's memory is full of large frames."""
    pixels.std.SetVideoCache(mode=1, fixedsize=1, maxsize=KEPT)
    return pixels


def _limited_scale(format: vs.VideoFormat) -> float:
    """Returns the factor that scales differences of limited range, which PlaneStats relates to the full range, to [0, 1]."""
    if format.sample_type == vs.FLOAT or format.color_family == vs.RGB:
        return 1.0
    return ((1 << format.bits_per_sample) - 1) / (219 << format.bits_per_sample - 8)


def _later(clip: vs.VideoNode, k: int, start: vs.VideoNode) -> vs.VideoNode:
    """Delays a clip by k frames; the first k frames are those of `start`."""
    return start[:k] + clip[:-k] if k < clip.num_frames else start


def _earlier(clip: vs.VideoNode, k: int, end: vs.VideoNode) -> vs.VideoNode:
    """Moves a clip k frames earlier; the last k frames are those of `end`."""
    return clip[k:] + end[:k] if k < clip.num_frames else end
