from typing import Any

import numpy as np
import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import moving_frames
from vs_clips import blank, clip_of, identity_model, number_and_duration, pixels
from vsedvr.filter.tags import LOCATIONS, MATRICES
from vsedvr.model import EDVR, EDVRConfig

core = vs.core


@pytest.fixture(scope="module")
def identity() -> EDVR:
    return identity_model()


def colourful(format: vs.PresetVideoFormat = vs.YUV420P8, matrix: int = 1, range: int = 0, chromaloc: int = 0) -> vs.VideoNode:
    """Makes a moving texture of 8 frames."""
    frames = torch.stack([torch.from_numpy(frame).movedim(2, 0) / 255 for frame in moving_frames(8, 32, 48)])
    info = core.get_video_format(format)
    colour = {} if info.color_family == vs.RGB else {"matrix": matrix, "range": range}
    return clip_of(frames).resize.Bicubic(format=format, chromaloc=chromaloc if info.subsampling_w else None, **colour)


def ramp(**tags: int) -> vs.VideoNode:
    """Makes frames of smooth colours, 4:2:0, in which samples at a wrong place show."""
    across, down = torch.linspace(0.2, 0.8, 48).expand(32, 48), torch.linspace(0.7, 0.3, 32)[:, None].expand(32, 48)
    clip = clip_of(torch.stack([across, down, across.flip(1)]).expand(8, -1, -1, -1))
    return clip.resize.Bicubic(format=vs.YUV420P16, **{"matrix": 1, "range": 0, "chromaloc": 0, **tags})


def without(clip: vs.VideoNode, first: int, *props: str) -> vs.VideoNode:
    """Removes some props from all frames with this number or a higher one."""
    return clip[:first] + clip[first:].std.RemoveFrameProps(list(props))


def equal(a: vs.VideoFrame, b: vs.VideoFrame) -> bool:
    return all(np.array_equal(np.asarray(a[plane]), np.asarray(b[plane])) for plane in range(a.format.num_planes))


class TestProps:
    @pytest.mark.parametrize("format", [vs.RGBS, vs.RGB24, vs.YUV420P8, vs.YUV444P16, vs.GRAY8], ids=lambda format: format.name)
    def test_all_of_frame_n_are_kept(self, identity: EDVR, format: Any) -> None:
        clip = core.std.BlankClip(format=format, width=32, height=32, length=6, fpsnum=30000, fpsden=1001)
        clip = clip.std.SetFrameProps(
            _Matrix=0 if "RGB" in format.name else 9,
            _Transfer=16,
            _Primaries=9,
            _ChromaLocation=2,
            _SARNum=8,
            _SARDen=9,
            _FieldBased=0,
        )
        clip = clip.std.SetFrameProps(_Range=int("RGB" in format.name), _PictType="P", note="kept", weight=[1.5, 2.5])
        clip = clip.std.ModifyFrame(clip, number_and_duration)
        restored = vsedvr.edvr(clip, model=identity)
        for n in (0, 3, 5):
            source, props = dict(clip.get_frame(n).props), dict(restored.get_frame(n).props)
            assert {key: props.get(key) for key in source} == source

    def test_a_matrix_that_changes_midway_is_told_as_it_is(self, identity: EDVR) -> None:
        """Each frame is read by its own matrix, but all output frames are converted and tagged like frame 0."""
        clip = core.std.BlankClip(format=vs.YUV444P8, width=16, height=16, length=6, color=[100, 90, 180])
        clip = clip[:3].std.SetFrameProps(_Matrix=1) + clip[3:].std.SetFrameProps(_Matrix=6)
        restored = vsedvr.edvr(clip, model=identity, sc=False)
        assert restored.get_frame(4).props["_Matrix"] == 1
        as_rgb = [pixels(c.resize.Bicubic(format=vs.RGBS).get_frame(4)) for c in (clip, restored)]
        assert (as_rgb[0] - as_rgb[1]).abs().max() < 0.01

    def test_variable_frame_rate(self, identity: EDVR) -> None:
        clip = core.std.BlankClip(format=vs.RGBS, width=16, height=16, length=4, fpsnum=0, fpsden=1)
        clip = clip.std.ModifyFrame(clip, number_and_duration)
        restored = vsedvr.edvr(clip, model=identity)
        assert restored.fps == 0
        assert [frame.props["_DurationNum"] for frame in restored.frames()] == [41, 42, 43, 44]


class TestFrameByFrame:
    def test_a_frame_without_tags_takes_those_of_frame_0(self, identity: EDVR) -> None:
        clip = colourful(matrix=6, range=1, chromaloc=2)
        expected = vsedvr.edvr(clip, model=identity)
        bare = without(clip, 2, "_Matrix", "_Range", "_ChromaLocation", "_Transfer", "_Primaries")
        for n, frame in enumerate(vsedvr.edvr(bare, model=identity).frames()):
            assert equal(frame, expected.get_frame(n)), n
            assert [frame.props[key] for key in ("_Matrix", "_Range", "_ChromaLocation")] == [6, 1, 2]

    @pytest.mark.parametrize("unspecified", [2, 0])
    def test_unspecified_counts_as_none(self, identity: EDVR, unspecified: int) -> None:
        clip = colourful(matrix=6)
        later = clip[:3] + clip[3:].std.SetFrameProps(_Matrix=unspecified)
        assert equal(vsedvr.edvr(later, model=identity).get_frame(5), vsedvr.edvr(clip, model=identity).get_frame(5))

    @pytest.mark.parametrize(
        ("props", "message"),
        [
            ({"_FieldBased": 1}, r"frame 5 is interlaced \(its _FieldBased is 1\); deinterlace the clip first"),
            ({"_FieldBased": 2}, r"frame 5 is interlaced \(its _FieldBased is 2\)"),
            ({"_Matrix": 10}, r"_Matrix of frame 5 is 10 \(2020cl\), which the resizer cannot convert to RGB; convert"),
            ({"_Matrix": 3}, r"_Matrix of frame 5 is 3"),
            ({"_Range": 3}, r"_Range of frame 5 is 3; it must be 0 \(limited\) or 1 \(full\)"),
            ({"_ChromaLocation": 6}, r"_ChromaLocation of frame 5 is 6; it must be within 0\.\.5"),
            ({"_Matrix": [1, 1]}, r"_Matrix of frame 5 is \[1, 1\]; it must be a number"),
            ({"_FieldBased": 0.5}, r"_FieldBased of frame 5 is 0\.5; it must be a number"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("matrix", [None, "709"])
    def test_a_later_frame_that_cannot_work_is_named(
        self, identity: EDVR, props: dict[str, Any], message: str, matrix: str | None
    ) -> None:
        clip = colourful()
        clip = clip[:5] + clip[5:6].std.SetFrameProps(**props) + clip[6:]
        restored = vsedvr.edvr(clip, identity, sc=False, matrix=matrix)
        restored.get_frame(2)
        for n in (3, 5, 7):
            with pytest.raises(vs.Error, match=rf"edvr: {message}") as caught:
                restored.get_frame(n)
            assert "Resize error" not in str(caught.value)
        with pytest.raises(vs.Error, match=f"^edvr: {message.replace('frame 5', 'frame 0')}"):
            vsedvr.edvr(clip[5:], identity)

    @pytest.mark.parametrize("matrix", [None, 9])
    @pytest.mark.parametrize(
        "tags", [{"matrix": 6}, {"range": 1}, {"chromaloc": 2}, {"matrix": 9, "range": 1, "chromaloc": 3}], ids=str
    )
    def test_tags_that_change_are_told_as_they_are(self, identity: EDVR, tags: dict[str, int], matrix: int | None) -> None:
        clip = ramp()[:4] + ramp(**tags)[4:]
        restored = vsedvr.edvr(clip, identity, sc=False, matrix=matrix)
        a, b = (c.resize.Bicubic(format=vs.RGBS) for c in (clip, restored))
        for n in (3, 4, 7):
            assert (pixels(a.get_frame(n)) - pixels(b.get_frame(n)))[:, 4:-4, 4:-4].abs().max() < 0.001, n
        names = ("_Matrix", "_Range", "_ChromaLocation")
        told = [[restored.get_frame(n).props[name] for name in names] for n in (0, 4)]
        own = [[clip.get_frame(n).props[name] for name in names] for n in (0, 4)]
        assert told == (own if matrix else [own[0], own[0]])


class TestWhatTheConversionDoesNotNeed:
    @pytest.mark.parametrize("format", [vs.YUV420P8, vs.RGB24, vs.RGBS, vs.GRAY8], ids=lambda format: format.name)
    @pytest.mark.parametrize(
        ("prop", "values"), [("_Transfer", range(-1, 20)), ("_Primaries", range(-1, 24)), ("_Matrix", range(-1, 19))]
    )
    def test_is_kept(self, identity: EDVR, format: Any, prop: str, values: range) -> None:
        clip = colourful(format)
        plain = vsedvr.edvr(clip, model=identity).get_frame(1)
        for value in values:
            if prop == "_Matrix" and format == vs.YUV420P8:
                continue
            restored = vsedvr.edvr(clip.std.SetFrameProps(**{prop: value}), model=identity).get_frame(1)
            assert restored.props[prop] == value
            assert equal(restored, plain)

    @pytest.mark.parametrize("location", [-1, 2, 6, 7])
    def test_location_of_chroma_that_is_not_subsampled(self, identity: EDVR, location: int) -> None:
        clip = colourful(vs.YUV444P8).std.SetFrameProps(_ChromaLocation=location)
        assert vsedvr.edvr(clip, model=identity).get_frame(1).props["_ChromaLocation"] == location
        made = vsedvr.edvr(clip, model=identity, output_format=vs.YUV420P8).get_frame(1)
        assert made.props["_ChromaLocation"] == (location if location == 2 else 0)

    def test_the_numbers_that_are_taken_are_those_of_the_resizer(self) -> None:
        def accepted(**props: int) -> bool:
            try:
                colourful().std.SetFrameProps(**props).resize.Bicubic(format=vs.RGBS).get_frame(0)
            except vs.Error:
                return False
            return True

        assert [value for value in range(-1, 20) if accepted(_Matrix=value)] == sorted(MATRICES.values())
        assert not accepted(_ChromaLocation=LOCATIONS[-1] + 1)
        assert all(accepted(_ChromaLocation=value) for value in LOCATIONS)
        for name, number in MATRICES.items():
            a, b = (
                colourful(vs.RGBS).resize.Bicubic(format=vs.YUV444PS, **m) for m in ({"matrix_s": name}, {"matrix": number})
            )
            assert equal(a.get_frame(0), b.get_frame(0))


class TestMatrix:
    @pytest.mark.parametrize("matrix", [6, "170m", "6"])
    def test_is_used_where_frames_have_none(self, identity: EDVR, matrix: int | str) -> None:
        clip = colourful(matrix=6)
        expected = vsedvr.edvr(clip, model=identity, output_format=vs.RGBS).get_frame(1)
        for bare in (clip.std.RemoveFrameProps("_Matrix"), clip.std.SetFrameProps(_Matrix=2)):
            as_rgb = vsedvr.edvr(bare, model=identity, matrix=matrix, output_format=vs.RGBS).get_frame(1)
            assert equal(as_rgb, expected)
            assert vsedvr.edvr(bare, model=identity, matrix=matrix).get_frame(1).props["_Matrix"] == 6

    def test_does_not_overrule_a_prop(self, identity: EDVR) -> None:
        clip = colourful(matrix=6, range=1, chromaloc=1)
        with_matrix, plain = (vsedvr.edvr(clip, model=identity, matrix=m).get_frame(1) for m in (1, None))
        assert equal(with_matrix, plain)
        assert dict(with_matrix.props) == dict(plain.props)

    @pytest.mark.parametrize(
        ("matrix", "primaries", "expected"),
        [(None, 9, 9), (None, 1, 1), (None, 6, 6), (None, 5, 5), (None, 2, 1), (None, 12, 1), ("170m", 9, 6)],
    )
    def test_of_yuv_that_is_made_of_rgb(self, identity: EDVR, matrix: str | None, primaries: int, expected: int) -> None:
        clip = colourful(vs.RGB24).std.SetFrameProps(_Primaries=primaries)
        made = vsedvr.edvr(clip, model=identity, output_format=vs.YUV444P16, matrix=matrix)
        assert made.get_frame(1).props["_Matrix"] == expected
        assert (pixels(made.resize.Bicubic(format=vs.RGB24).get_frame(1)) - pixels(clip.get_frame(1))).abs().max() <= 1

    @pytest.mark.parametrize(
        "matrix", ["rec709", 0, 2, 10, "2020cl", -1, 1.0, None.__class__, "", [1]], ids=lambda value: repr(value)[:12]
    )
    def test_that_cannot_work_is_refused(self, identity: EDVR, matrix: Any) -> None:
        with pytest.raises(vs.Error, match=r'^edvr: matrix must be one of "709" \(1\), .*"2020ncl" \(9\), .*got '):
            vsedvr.edvr(colourful(), model=identity, matrix=matrix)


class TestInAPlayer:
    """While a script is evaluated, a player has no frames, and returns a black frame without props."""

    class Player:
        def __init__(self, clip: vs.VideoNode) -> None:
            self.playing = False
            self.asked: list[int] = []
            black = clip.std.BlankClip(color=[0] * clip.format.num_planes, keep=True).std.RemoveFrameProps()

            def frame(n: int) -> vs.VideoNode:
                self.asked.append(n)
                return clip if self.playing else black

            self.clip = clip.std.FrameEval(frame)

    @pytest.mark.parametrize("tags", [{"matrix": 1}, {"matrix": 6}, {"matrix": 9, "range": 1, "chromaloc": 2}], ids=str)
    @pytest.mark.parametrize("config", [None, EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)], ids=["x1", "x4"])
    def test_yuv_with_a_matrix_asks_for_no_frame(self, identity: EDVR, tags: dict[str, int], config: EDVRConfig | None) -> None:
        model = identity if config is None else identity_model(config)
        player = self.Player(colourful(**tags))
        restored = vsedvr.edvr(player.clip, model, matrix="709")
        assert player.asked == []
        player.playing = True
        expected = vsedvr.edvr(colourful(**tags), model)
        for n in range(8):
            frame, other = restored.get_frame(n), expected.get_frame(n)
            assert equal(frame, other), n
            assert dict(frame.props) == dict(other.props)

    def test_yuv_without_is_refused_with_the_way_out(self, identity: EDVR) -> None:
        with pytest.raises(vs.Error, match=r'^edvr: .*matrix is not known .* give matrix="709"'):
            vsedvr.edvr(self.Player(colourful()).clip, identity)

    @pytest.mark.parametrize("format", [vs.RGB24, vs.GRAY8], ids=lambda format: format.name)
    def test_the_stand_in_for_frame_0_is_not_kept(self, identity: EDVR, format: Any) -> None:
        player = self.Player(colourful(format))
        restored = vsedvr.edvr(player.clip, identity)
        player.playing = True
        expected = vsedvr.edvr(colourful(format), identity)
        assert all(equal(restored.get_frame(n), expected.get_frame(n)) for n in range(8))


def test_a_source_that_fails_at_frame_0_is_told_of_at_creation(identity: EDVR) -> None:
    def fail(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        raise ValueError("the file is gone")

    with pytest.raises(vs.Error, match=r"^edvr: frame 0 of the clip cannot be rendered: ValueError: the file is gone$"):
        vsedvr.edvr(blank().std.ModifyFrame(blank(), fail), identity)
