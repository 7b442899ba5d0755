"""How much of the time a device is busy, in a time that advances only when every node of the filter waits for it.

So the figures are exact on any machine. Launching, computing and copying take the milliseconds that the test gives them; the
rest is real. What a frame takes on a real machine is measured by benchmarks/gpu/overlap.py.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import vapoursynth as vs

import vsedvr
from conftest import random_model
from vs_clips import clip_of, pixels
from vsedvr.filter.restorer import Restorer

NUM_FRAMES = 16


class Clock:
    """A time in milliseconds. It jumps to when the first of the nodes goes on, as soon as all of them wait."""

    def __init__(self, nodes: int) -> None:
        self.now = 0.0
        self.nodes = nodes
        self.waiting: list[float] = []
        self.condition = threading.Condition()

    def wait_until(self, time: float) -> None:
        with self.condition:
            if time <= self.now:
                return
            self.waiting.append(time)
            self._advance()
            while self.now < time:
                if not self.condition.wait(60):  # only if the test fails
                    raise RuntimeError("a node has no frame to work on")

    def leave(self) -> None:
        """Says that one of the nodes has done its last frame."""
        with self.condition:
            self.nodes -= 1
            self._advance()

    def _advance(self) -> None:
        if self.waiting and len(self.waiting) == self.nodes:
            self.now = min(self.waiting)
            self.waiting = [time for time in self.waiting if time > self.now]
            self.condition.notify_all()


class Worker:
    """A thread or a device, which does what it is given in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.free_at = 0.0
        self.lock = threading.Lock()

    def begin(self, milliseconds: float) -> Callable[[], None]:
        """Begins some work as soon as the work before is done; returns a function that waits until it is done."""
        with self.lock:
            self.free_at = done = max(self.free_at, self.clock.now) + milliseconds
        return lambda: self.clock.wait_until(done)


class Device(Worker):
    """Stands in for the stream of an engine. Each frame takes so many milliseconds."""

    def __init__(self, clock: Clock, milliseconds: float) -> None:
        super().__init__(clock)
        self.milliseconds = milliseconds

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        return self.begin(self.milliseconds)


def busy(
    patch: pytest.MonkeyPatch, launch: float, compute: float, copy: float, num_streams: int, num_devices: int = 1
) -> float:
    """Plays a clip, and checks its frames.

    Args:
        patch: undone by the caller.
        launch, compute, copy: milliseconds that launching, computing and copying a frame take.
        num_streams: number of frames that each device is given at a time.
        num_devices: number of devices.

    Returns:
        The share of the time in which the devices were busy.
    """
    model, frames = random_model(), torch.rand(NUM_FRAMES, 3, 16, 16)
    expected = [pixels(frame) for frame in vsedvr.edvr(clip_of(frames), model).frames()]
    number = num_streams * num_devices
    clock = Clock(number)
    launching, copying = Worker(clock), Worker(clock)
    call = Restorer.__call__

    def in_turn(device: torch.device, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        is_copy = getattr(function, "__name__", "") == "_fill"
        (copying if is_copy else launching).begin(copy if is_copy else launch)()
        return function(*args, **options)

    def called(self: Restorer, n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        try:
            return call(self, n, f)
        finally:
            if n + number >= NUM_FRAMES:
                clock.leave()

    patch.setattr("vsedvr.infer.engine.Stream", lambda device: Device(clock, compute))
    patch.setattr("vsedvr.filter.restorer.compute", in_turn)
    patch.setattr(Restorer, "__call__", called)
    devices: Any = [-1] * num_devices
    restored = vsedvr.edvr(clip_of(frames), model, matrix="709", num_streams=num_streams, device_index=devices)
    for frame, right in zip(restored.frames(prefetch=3 * number), expected, strict=True):
        assert torch.equal(pixels(frame), right)
    return compute * NUM_FRAMES / num_devices / clock.now


@pytest.fixture(autouse=True)
def _threads() -> Any:
    threads = vs.core.num_threads
    vs.core.num_threads = 8
    yield
    vs.core.num_threads = threads


@pytest.mark.parametrize(("launch", "compute", "copy"), [(0.3, 3, 2), (3, 6, 2), (3, 30, 18)])
def test_with_two_frames_at_a_time_a_device_is_busy(launch: float, compute: float, copy: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        alone = busy(patch, launch, compute, copy, num_streams=1)
    assert alone == pytest.approx(compute / (launch + compute + copy))
    assert 0.54 < alone < 0.70
    with pytest.MonkeyPatch.context() as patch:
        assert busy(patch, launch, compute, copy, num_streams=2) >= 0.90


def test_so_are_two_devices() -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert busy(patch, 0.3, 12, 4, num_streams=2, num_devices=2) >= 0.90


def test_where_copying_takes_longer_than_computing_a_device_waits() -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert busy(patch, 0.3, 3, 6, num_streams=3) < 0.55
