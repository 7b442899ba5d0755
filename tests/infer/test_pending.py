"""Frames that are launched first and fetched later, on a device whose work ends when the test says so."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import random_model
from vsedvr.infer import Engine, Tiling
from vsedvr.model import EDVRConfig

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)


class Device:
    """A CPU that passes for a device which works on its own: it notes what is launched, and who waits for what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.marks = 0
        self.wait: Callable[[int], None] = lambda mark: self.log.append(f"wait {mark}")
        """Waits for the work before a mark, counted from 0."""
        monkeypatch.setattr("vsedvr.infer.engine.Stream", lambda device: self)

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        number = self.marks
        self.marks += 1
        self.log.append(f"mark {number}")
        return lambda: self.wait(number)

    def note(self, engine: Engine, method: str) -> None:
        """Notes calls of one of the network's methods as well."""
        original: Callable[..., Any] = getattr(engine.model, method)

        def noted(*args: Any) -> Any:
            self.log.append(method)
            return original(*args)

        setattr(engine.model, method, noted)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def windows(count: int) -> list[range]:
    return [range(n, n + 5) for n in range(count)]


@pytest.mark.parametrize("tiling", [None, Tiling(20, 33, (16, 12), 4, X4)], ids=["whole", "tiles"])
@pytest.mark.parametrize("ensemble", [1, 4])
def test_nothing_waits_until_a_result_is_fetched(device: Device, tiling: Tiling | None, ensemble: int) -> None:
    """Neither tiles, nor versions, nor frames that are launched afterwards."""
    model, clip = random_model(X4), torch.rand(7, 3, 20, 33)
    engine = Engine(model, tiling=tiling, ensemble=ensemble)
    device.note(engine, "reconstruct")
    pending = [engine.launch(window, clip.__getitem__) for window in windows(3)]
    each = ensemble * (len(tiling.tiles) if tiling else 1)
    launched = [line for n in range(3) for line in ["reconstruct"] * each + [f"mark {n}"]]
    assert device.log == launched
    results = [pending[n].result() for n in (1, 0, 2)]
    assert device.log[len(launched) :] == ["wait 1", "wait 0", "wait 2"], "each for its own work"
    linear = Engine(model, tiling=tiling, ensemble=ensemble)
    for n, result in zip((1, 0, 2), results, strict=True):
        assert torch.equal(result, linear.restore(windows(3)[n], clip.__getitem__))
        assert pending[n].result() is result


def test_who_waits_keeps_nobody_from_launching(device: Device) -> None:
    engine, clip = Engine(random_model(X4)), torch.rand(6, 3, 16, 16)
    waiting, done = threading.Event(), threading.Event()

    def wait(mark: int) -> None:
        if mark == 0:
            waiting.set()
            done.wait()

    device.wait = wait
    results: list[Tensor] = []
    first = engine.launch(range(5), clip.__getitem__)
    thread = threading.Thread(target=lambda: results.append(first.result()))
    thread.start()
    waiting.wait()
    second = engine.launch(range(1, 6), clip.__getitem__).result()
    assert not results
    done.set()
    thread.join()
    other = Engine(random_model(X4))
    assert torch.equal(results[0], other.restore(range(5), clip.__getitem__))
    assert torch.equal(second, other.restore(range(1, 6), clip.__getitem__))


def test_threads_that_launch_at_once_take_turns(device: Device) -> None:
    engine, clip = Engine(random_model(X4)), torch.rand(12, 3, 16, 16)
    barrier, results = threading.Barrier(4), dict[int, Tensor]()

    def restore(numbers: range) -> None:
        barrier.wait()
        for n in numbers:
            results[n] = engine.restore(range(n, n + 5), clip.__getitem__)

    threads = [threading.Thread(target=restore, args=(range(k, 8, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    linear = Engine(random_model(X4))
    for n in range(8):
        assert torch.equal(results[n], linear.restore(range(n, n + 5), clip.__getitem__)), n


class TestMemoryRunsOutOnTheDevice:
    """The error comes when the work is waited for."""

    def test_frames_are_restored_anew_in_smaller_tiles(self, device: Device, caplog: pytest.LogCaptureFixture) -> None:
        model, clip = random_model(X4), torch.rand(6, 3, 75, 141)
        engine = Engine(model, tiling=Tiling(75, 141, (0, 0), 4, X4))

        def fail(mark: int) -> None:
            if mark < 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

        device.wait = fail
        with caplog.at_level(logging.WARNING, "vsedvr"):
            pending = [engine.launch(range(n, n + 5), clip.__getitem__) for n in range(2)]
            results = [each.result() for each in pending]
        expected = Engine(model, tiling=Tiling(75, 141, (72, 75), 4, X4))
        assert all(torch.equal(result, expected.restore(range(n, n + 5), clip.__getitem__)) for n, result in enumerate(results))
        assert len(caplog.records) == 1, "the tiles became smaller once, not for each frame"

    def test_the_smallest_tiles_are_an_error(self, device: Device) -> None:
        engine, clip = Engine(random_model(X4)), torch.rand(5, 3, 16, 16)

        def fail(mark: int) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        device.wait = fail
        pending = engine.launch(range(5), clip.__getitem__)
        pending.wait()
        with pytest.raises(MemoryError, match="cannot be smaller"):
            pending.result()

    def test_other_errors_are_raised_by_the_result(self, device: Device) -> None:
        engine, clip = Engine(random_model(X4)), torch.rand(5, 3, 16, 16)

        def fail(mark: int) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        device.wait = fail
        with pytest.raises(RuntimeError, match="illegal memory access"):
            engine.launch(range(5), clip.__getitem__).result()


def test_a_frame_that_overflows_is_restored_anew_and_those_launched_after_it_are_not(device: Device) -> None:
    model, clip = random_model(X4), torch.rand(12, 3, 16, 16) * 1e-3
    clip[2] = torch.rand(3, 16, 16)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and "conv_offset" not in name:
            torch.nn.init.zeros_(parameter)
    model.upconv2.weight.data *= 1e5
    model.conv_hr.weight.data *= 1e5
    model.conv_last.weight.data /= 1e10
    engine, exact, coarse = (Engine(model, dtype=dtype) for dtype in (torch.float16, torch.float32, torch.float16))
    loud, quiet = (engine.launch(window, clip.__getitem__) for window in (range(5), range(7, 12)))
    assert torch.equal(quiet.result(), coarse.launch(range(7, 12), clip.__getitem__).result())
    assert quiet.result().dtype == torch.float16
    assert torch.equal(loud.result(), exact.restore(range(5), clip.__getitem__))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_16_bits_are_kept_where_they_hold_the_same_values(dtype: torch.dtype) -> None:
    model, clip = random_model(X4), torch.rand(5, 3, 20, 33)
    for tile, ensemble in (((0, 0), 1), ((16, 12), 1), ((0, 0), 4)):
        engine, other = (Engine(model, "cpu", dtype, Tiling(20, 33, tile, 4, X4), ensemble=ensemble) for _ in range(2))
        result = engine.launch(range(5), clip.__getitem__).result()
        assert result.dtype == (dtype if (tile, ensemble) == ((0, 0), 1) else torch.float32)
        assert torch.equal(result.float(), other.restore(range(5), clip.__getitem__))
        assert result.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_pictures_are_clamped_and_left_alone(dtype: torch.dtype) -> None:
    model, wild = random_model(X4), torch.rand(5, 3, 20, 33) * 3 - 1
    before = wild.clone()
    restored = Engine(model, dtype=dtype).restore(range(5), wild.__getitem__)
    assert torch.equal(restored, Engine(model, dtype=dtype).restore(range(5), wild.clamp(0, 1).__getitem__))
    assert torch.equal(wild, before)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("tile", [(0, 0), (24, 24)])
def test_on_a_gpu_frames_in_flight_are_those_that_are_waited_for(dtype: torch.dtype, tile: tuple[int, int]) -> None:
    """Two engines with streams of their own, whose launches alternate."""
    model, clip = random_model(EDVRConfig(num_extract_block=1, num_reconstruct_block=1)), torch.rand(12, 3, 45, 70)
    pinned = clip.pin_memory()
    tiling = Tiling(45, 70, tile, 4, model.config)
    linear, first, second = (Engine(model, "cuda", dtype, tiling) for _ in range(3))
    expected = [linear.restore(window, clip.__getitem__) for window in windows(8)]
    pending = [engine.launch(window, pinned.__getitem__) for window in windows(8) for engine in (first, second)]
    for k, each in reversed(list(enumerate(pending))):
        assert torch.equal(each.result().float(), expected[k // 2]), k
