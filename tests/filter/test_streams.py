"""Several frames at a time, and several devices, on a CPU that passes for devices which work on their own."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import vapoursynth as vs
from torch import Tensor

import vsedvr
from conftest import TINY, random_model
from vs_clips import clip_of, pixels
from vsedvr.filter.devices import to_devices, to_streams, warn_of_differences
from vsedvr.infer import Engine, Pending
from vsedvr.infer.cache import FrameTile
from vsedvr.infer.phases import Phases
from vsedvr.model import EDVRConfig

core = vs.core
X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """VapourSynth's threads, some of which wait at the same time, whatever the number of cores."""
    threads, size = core.num_threads, core.max_cache_size
    core.num_threads = 6
    yield
    core.num_threads, core.max_cache_size = threads, size


def counted(clip: vs.VideoNode) -> tuple[vs.VideoNode, Counter[int]]:
    """Counts how often each frame of a clip is rendered."""
    counts: Counter[int] = Counter()
    lock = threading.Lock()

    def note(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        with lock:
            counts[n] += 1
        return f

    return clip.std.ModifyFrame(clip, note), counts


def all_pixels(clip: vs.VideoNode, prefetch: int = 6) -> Tensor:
    return torch.stack([pixels(frame) for frame in clip.frames(prefetch=prefetch)])


class Device:
    """Takes `num_streams` frames at a time, and is done with all of them only when the last of them has been launched.

    Each of as many nodes launches one of them, in any order: a node cannot launch its next frame before its last one is done.
    """

    def __init__(self, num_streams: int, num_frames: int) -> None:
        self.num_streams = num_streams
        self.full = [threading.Event() for _ in range(num_frames // num_streams)]
        self.marks = 0

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        full = self.full[self.marks // self.num_streams]
        self.marks += 1
        if self.marks % self.num_streams == 0:
            full.set()

        def wait() -> None:
            if not full.wait(60):  # only if the test fails
                raise RuntimeError("not as many frames as there are streams are launched")

        return wait


@pytest.mark.parametrize("num_streams", [2, 3])
def test_as_many_frames_as_streams_are_launched_at_a_time(num_streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one frame at a time no frame would ever be done."""
    model, frames = random_model(), torch.rand(12, 3, 16, 16)
    expected = all_pixels(vsedvr.edvr(clip_of(frames), model))
    monkeypatch.setattr("vsedvr.infer.engine.Stream", lambda device: Device(num_streams, 12))
    clip, counts = counted(clip_of(frames))
    restored = vsedvr.edvr(clip, model, num_streams=num_streams, matrix="709")
    assert torch.equal(all_pixels(restored), expected)
    assert set(counts.values()) == {1}, "each source frame is rendered once"


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6, 7, 23])
@pytest.mark.parametrize("arguments", [{"num_streams": 2}, {"num_streams": 4}, {"device_index": [-1, -1]}], ids=str)
def test_pixels_are_the_same_in_any_order(num_frames: int, arguments: dict[str, Any]) -> None:
    model, frames = random_model(), torch.rand(num_frames, 3, 18, 20)
    frames[num_frames // 2 :] *= 0.1  # a cut
    expected = all_pixels(vsedvr.edvr(clip_of(frames), model, device_index=-1))
    clip, counts = counted(clip_of(frames))
    restored = vsedvr.edvr(clip, model, **arguments, matrix="709")
    assert restored.num_frames == num_frames
    assert restored.fps == clip.fps
    assert torch.equal(all_pixels(restored), expected)
    assert set(counts.values()) == {1}
    restored = vsedvr.edvr(clip_of(frames), model, **arguments)
    for n in random.Random(1).choices(range(num_frames), k=12):
        assert torch.equal(pixels(restored.get_frame(n)), expected[n]), n


def test_each_frame_is_extracted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames, calls = random_model(), torch.rand(23, 3, 16, 16), []
    original = Phases._extract

    def noted(self: Phases, lq: Tensor) -> FrameTile:
        calls.append(1)
        return original(self, lq)

    monkeypatch.setattr(Phases, "_extract", noted)
    all_pixels(vsedvr.edvr(clip_of(frames), model, num_streams=2), prefetch=2)
    assert len(calls) == 23


def test_with_a_small_cache_of_frames_nothing_hangs() -> None:
    """A window of the source alone takes 7.8 MB here."""
    model, frames = random_model(), torch.rand(10, 3, 270, 480)
    expected = all_pixels(vsedvr.edvr(clip_of(frames), model))
    core.max_cache_size = 8
    assert torch.equal(all_pixels(vsedvr.edvr(clip_of(frames), model, num_streams=3)), expected)


def test_a_picture_that_stands_still_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    launch, numbers, frames = Engine.launch, [], torch.rand(24, 3, 16, 20)
    frames[4:20] = frames[4]

    def noted(self: Engine, indices: Any, load: Any, **options: Any) -> Pending:
        numbers.append(indices[2])
        return launch(self, indices, load, **options)

    expected = all_pixels(vsedvr.edvr(clip_of(frames), random_model(), padding="replicate"))
    monkeypatch.setattr(Engine, "launch", noted)
    restored = all_pixels(vsedvr.edvr(clip_of(frames), random_model(), padding="replicate", num_streams=3))
    assert torch.equal(restored, expected)
    moving = [*range(6), *range(18, 24)]
    assert sorted(set(numbers) & set(moving)) == moving
    assert len(numbers) == len(moving) + 1


def test_one_that_cannot_be_restored_is_an_error_each_time() -> None:
    restored = vsedvr.edvr(clip_of(torch.full((8, 3, 16, 16), torch.nan)), random_model(), num_streams=2)
    for n in (2, 3, 4):
        with pytest.raises(vs.Error, match=f"edvr: frame {n} cannot be restored: .*not finite"):
            restored.get_frame(n)


def test_the_longest_clip() -> None:
    clip = clip_of(torch.rand(7, 3, 16, 16)).std.Loop()[: 2**31 - 1]
    restored, expected = (vsedvr.edvr(clip, random_model(), num_streams=k, padding="replicate") for k in (2, 1))
    assert restored.num_frames == 2**31 - 1
    for n in (0, 2**30 - 1, 2**31 - 2):
        assert torch.equal(pixels(restored.get_frame(n)), pixels(expected.get_frame(n)))


def test_two_stages() -> None:
    model, frames = random_model(X4), torch.rand(7, 3, 16, 16)
    one, three = (vsedvr.edvr(clip_of(frames), model, refine=random_model(TINY), num_streams=k) for k in (1, 3))
    assert torch.equal(all_pixels(one), all_pixels(three))


class TestFloat16:
    """Pictures of a 16-bit network, which a CPU has not by itself."""

    @pytest.fixture(autouse=True)
    def _as_on_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vsedvr.filter.door.choose_precision", lambda asked, device, exact_input: torch.float16)

    @pytest.mark.parametrize("wild", [False, True])
    @pytest.mark.parametrize("tile", [(0, 0), (16, 12)])
    @pytest.mark.parametrize("format", [vs.RGBH, vs.GRAYH], ids=lambda format: format.name)
    def test_is_rounded_once(self, format: Any, tile: tuple[int, int], wild: bool) -> None:
        """Values outside of [0, 1] are added in float32."""
        frames = torch.rand(5, 3 if format == vs.RGBH else 1, 20, 33)
        clip = clip_of(frames * 3 - 1 if wild else frames, vs.RGBS if format == vs.RGBH else vs.GRAYS)
        half, full = (vsedvr.edvr(clip, random_model(), tile=tile, output_format=f) for f in (format, clip.format.id))
        for n in range(5):
            expected = pixels(full.resize.Point(format=format).get_frame(n))
            assert half.get_frame(n).format.id == format
            assert torch.equal(pixels(half.get_frame(n)), expected)
            assert (expected.max() > 1.5) == wild

    @pytest.mark.parametrize(
        "format", [vs.RGB24, vs.RGB48, vs.YUV444P8, vs.YUV444P16, vs.GRAY16], ids=lambda format: format.name
    )
    @pytest.mark.parametrize("tile", [(0, 0), (16, 12)])
    def test_is_handed_on_in_16_bits(self, format: Any, tile: tuple[int, int]) -> None:
        """All formats but those of 32-bit floats are made of halves, which in one tile are what the network gave."""
        clip = clip_of(torch.rand(5, 3, 20, 34))
        short, full = (vsedvr.edvr(clip, random_model(), tile=tile, output_format=f, matrix=1) for f in (format, vs.RGBS))
        halves = full.resize.Point(format=vs.RGBH)
        if tile == (0, 0):
            assert torch.equal(pixels(halves.get_frame(2)), pixels(full.get_frame(2)))
        rgb = format.value in (vs.RGB24, vs.RGB48)
        expected = halves.resize.Bicubic(format=format, **({} if rgb else {"matrix": 1, "range": vs.RANGE_LIMITED}))
        for n in range(5):
            assert torch.equal(pixels(short.get_frame(n)), pixels(expected.get_frame(n)))

    @pytest.mark.parametrize("format", [vs.YUV444P10, vs.YUV444P16], ids=lambda format: format.name)
    def test_that_is_whiter_than_white_is_rounded_like_any_other(self, format: Any) -> None:
        """A half near 1.1 is rounded by at most 1/2048."""
        clip = clip_of(torch.rand(5, 3, 20, 33) * 1.5 - 0.25).resize.Bicubic(format=vs.YUV444P16, matrix=1)
        short, full = (vsedvr.edvr(clip, random_model(), output_format=f) for f in (format, vs.YUV444PS))
        luma = [clip.std.ShufflePlanes(0, vs.GRAY) for clip in (short, full.resize.Bicubic(format=format))]
        for frame, expected in zip(luma[0].frames(), luma[1].frames(), strict=True):
            assert (pixels(frame) - pixels(expected)).abs().max() <= 1 + 2**frame.format.bits_per_sample / 2048

    def test_that_overflows_is_computed_in_float32(self) -> None:
        model, frames = random_model(), torch.rand(5, 3, 16, 16)
        with torch.no_grad():
            model.conv_last.weight.mul_(1e6)
            model.conv_last.bias.fill_(1e5)  # type: ignore[union-attr]
        expected = Engine(model).restore(range(5), frames.__getitem__).half().double()
        restored = vsedvr.edvr(clip_of(frames), model, sc=False, output_format=vs.RGBH)
        assert torch.equal(pixels(restored.get_frame(2)), expected)


class TestDevices:
    def test_take_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        launch, engine_of = Engine.launch, dict[int, Engine]()

        def noted(self: Engine, indices: Any, load: Any, **options: Any) -> Pending:
            engine_of[indices[2]] = self
            return launch(self, indices, load, **options)

        monkeypatch.setattr(Engine, "launch", noted)
        all_pixels(vsedvr.edvr(clip_of(torch.rand(9, 3, 16, 16)), random_model(), device_index="-1, -1, -1"))  # type: ignore[arg-type]
        first, second, third = (engine_of[n] for n in range(3))
        assert len({first, second, third}) == 3
        assert [engine_of[n] for n in range(9)] == [first, second, third] * 3
        assert first.network is second.network

    def test_from_arguments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cpu, cards = torch.device("cpu"), (torch.device("cuda", 0), torch.device("cuda", 1))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        for value in ([0, 1], (0, 1), "0,1", "[0, 1]", ["0", "1"]):
            assert to_devices(value) == cards
        assert to_devices(None) == cards[:1] == to_devices("0")
        assert to_devices([-1, -1]) == (cpu, cpu)
        assert [to_streams(None, devices) for devices in (cards, (cpu,))] == [2, 1]
        assert to_streams("3", cards) == 3
        with pytest.raises(ValueError, match=r"GPUs alone or -1, the CPU, alone, got \[0, -1\]"):
            to_devices([0, -1])
        with pytest.raises(ValueError, match=r"within 0\.\.1, or -1 for the CPU, got 2"):
            to_devices([0, 2])

    def test_that_are_not_equal_cause_a_warning(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        names = ["NVIDIA A", "NVIDIA A", "NVIDIA B"]
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])

        def engines(*cards: int, tiles: tuple[int, ...] = (64, 64)) -> Any:
            tilings = [SimpleNamespace(tile=(side, side)) for side in tiles]
            return [[SimpleNamespace(device=torch.device("cuda", k), tiling=t) for k, t in zip(cards, tilings, strict=True)]]

        with caplog.at_level(logging.WARNING, "vsedvr"):
            warn_of_differences(engines(0, 1))
            assert not caplog.records
            warn_of_differences(engines(0, 2))
            warn_of_differences(engines(0, 1, tiles=(64, 32)))
        assert "different cards (NVIDIA A, NVIDIA B): frames differ in the last bits by the card" in caplog.messages[0]
        assert "their tiles differ; tile= makes them equal" in caplog.messages[1]
