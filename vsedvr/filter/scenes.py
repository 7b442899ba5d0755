"""Scene cuts in the graph: a prop on every frame that tells whether a scene begins with it.

What the frames' own props say goes first, frame by frame. Only where they say nothing is the picture looked at; and only
where it changes much are the frames around it, REACH on either side, which are rendered early then. All this travels on
frames of one pixel, so that nothing large is kept for it.
"""

import vapoursynth as vs

from vsedvr.timeline import REACH, is_cut

__all__ = ["SCENE_START", "begins_scene", "mark_scene_starts"]

SCENE_START = "_EDVRSceneStart"
DIFFERENCE = "_EDVRDiff"
PREV = "_SceneChangePrev"
NEXT = "_SceneChangeNext"

KEPT = 64
"""How many single pixels to keep: more than a window, REACH on either side, and the frames that are asked for at a time."""


def mark_scene_starts(clip: vs.VideoNode, tagged: vs.VideoNode) -> vs.VideoNode:
    """A clip of single pixels with the prop SCENE_START: 1 on frames that a scene begins with, else 0.

    Args:
        clip: with the props _SceneChangePrev and _SceneChangeNext where a detector has set them.
        tagged: the same clip with the props that the resizer needs (see tags.py).
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
    """What the prop on a frame tells; no without it."""
    return bool(frame.props.get(SCENE_START, 0))


def _mark(frame: vs.VideoFrame, previous: vs.VideoFrame) -> bool | None:
    """What the props say of the cut before a frame; None where they say nothing, or nothing that is a number."""
    marks = (frame.props.get(PREV), previous.props.get(NEXT))
    numbers = [mark for mark in marks if isinstance(mark, int | float)]
    return any(number > 0 for number in numbers) if numbers else None


def _detected(tagged: vs.VideoNode, pixel: vs.VideoNode, no: vs.VideoNode) -> vs.VideoNode:
    """The same prop, from the differences of successive pictures."""
    here = _differences(tagged, pixel)
    before = [_later(here, k, pixel) for k in range(1, REACH + 1)]
    after = [_earlier(here, k, pixel) for k in range(1, REACH + 1)]
    limited = _limited_scale(tagged.format)

    def difference(frame: vs.VideoFrame) -> float:
        """On a scale of 1 from black to white; 0 for frames before the first and after the last, which counts as none."""
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
    """Single pixels with the mean absolute difference of a frame's luma to the frame before, and the luma's range."""
    luma = tagged
    if tagged.format.color_family == vs.RGB:
        luma = tagged.resize.Point(format=vs.GRAY8, matrix=vs.MATRIX_BT709, range=vs.RANGE_FULL)
    differences = luma.std.PlaneStats(_later(luma, 1, luma), prop=DIFFERENCE.removesuffix("Diff"))
    return _kept(pixel.std.CopyFrameProps(differences, props=[DIFFERENCE, "_Range"]))


def _kept(pixels: vs.VideoNode) -> vs.VideoNode:
    """With a cache of its own that stays when the core's memory is full: these frames are small, those behind them are not."""
    pixels.std.SetVideoCache(mode=1, fixedsize=1, maxsize=KEPT)
    return pixels


def _limited_scale(format: vs.VideoFormat) -> float:
    """What makes differences of limited range, which PlaneStats relates to all values of a sample, those of full range."""
    if format.sample_type == vs.FLOAT or format.color_family == vs.RGB:
        return 1.0
    return ((1 << format.bits_per_sample) - 1) / (219 << format.bits_per_sample - 8)


def _later(clip: vs.VideoNode, k: int, start: vs.VideoNode) -> vs.VideoNode:
    """The clip k frames later, with frames of another at the start."""
    return start[:k] + clip[:-k] if k < clip.num_frames else start


def _earlier(clip: vs.VideoNode, k: int, end: vs.VideoNode) -> vs.VideoNode:
    """The clip k frames earlier, with frames of another at the end."""
    return clip[k:] + end[:k] if k < clip.num_frames else end
