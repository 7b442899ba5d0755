"""How much of the time a device is busy, by the number of frames that it is given at a time. A simulation, on a CPU.

In place of a card, a thread sleeps for as long as the card is assumed to compute, and launching takes as much of Python's time
as it is assumed to take. Everything else is real: VapourSynth, the filter's graph, the conversions, and all copies.
"""

import argparse
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
import vapoursynth as vs

import vsedvr
from vsedvr.infer import Engine, Pending

__all__ = ["CASES", "Case", "SleepingDevice", "measure"]

core = vs.core
DEVICE = torch.device("meta")
"""Stands for a card, so that frames are launched in another thread than they are copied in, as with a card."""


class Case(NamedTuple):
    """What is assumed of a card and a clip."""

    width: int
    height: int
    launch: float
    """Seconds of Python for launching a frame."""
    compute: float
    """Seconds that the card takes for a frame."""
    num_frames: int


CASES = (
    Case(320, 180, 0.0003, 0.003, 120),
    Case(320, 180, 0.003, 0.006, 100),
    Case(960, 540, 0.003, 0.030, 24),
    Case(960, 540, 0.003, 0.065, 16),
)


class SleepingDevice:
    """Does what it is given in order, by sleeping for so many seconds each time."""

    def __init__(self) -> None:
        self.work: queue.Queue[tuple[float, threading.Event] | None] = queue.Queue()
        self.busy = 0.0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def submit(self, seconds: float) -> Callable[[], None]:
        """Returns a function that waits until this work is done."""
        done = threading.Event()
        self.work.put((seconds, done))
        return lambda: _ignore(done.wait())

    def end(self) -> None:
        self.work.put(None)
        self.thread.join()

    def _run(self) -> None:
        while (item := self.work.get()) is not None:
            begin = time.perf_counter()
            time.sleep(item[0])
            self.busy += time.perf_counter() - begin
            item[1].set()


def _ignore(value: object) -> None:
    """Drops what a call returns."""


def engine_class(case: Case, device: SleepingDevice) -> type[Engine]:
    """Makes an engine that sleeps instead of computing. A restored frame has the brightness of the source frame."""
    results = itertools.cycle([torch.rand(3, 4 * case.height, 4 * case.width).half() for _ in range(6)])

    class SleepingEngine(Engine):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.device = DEVICE
            self.kept: dict[int, float] = {}

        def launch(self, indices: Sequence[int], load: Callable[[int], torch.Tensor]) -> Pending:
            with self.lock:
                for i in indices:
                    if i not in self.kept:
                        self.kept[i] = float(load(i)[0, 0, 0])
                end = time.perf_counter() + case.launch
                while time.perf_counter() < end:
                    pass
                picture = next(results)
                picture[:, :64, :64] = self.kept[indices[self.config.center]]
                wait = device.submit(case.compute)
            return Pending(picture, torch.ones((), dtype=torch.bool), wait, lambda error: torch.empty(0))

    return SleepingEngine


def source(case: Case) -> vs.VideoNode:
    """Makes a clip whose frames differ in brightness."""
    blank = core.std.BlankClip(
        format=vs.YUV420P8, width=case.width, height=case.height, length=case.num_frames, color=[0, 128, 128], keep=True
    ).std.SetFrameProps(_Matrix=1, _Range=vs.RANGE_LIMITED)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        np.asarray(out[0])[:] = 20 + n
        return out

    return blank.std.ModifyFrame(blank, fill)


def measure(case: Case, num_streams: int) -> tuple[float, float]:
    """Plays a clip through the filter, and checks the brightness of every frame.

    Returns:
        Seconds a frame, and the share of the time in which the device was busy.

    Raises:
        SystemExit: if a frame is not what it must be.
    """
    device = SleepingDevice()
    try:
        with patch("vsedvr.infer.build.Engine", engine_class(case, device)):
            clip = vsedvr.edvr(
                source(case), vsedvr.EDVR(), device_index=-1, matrix="709", sc=False, tile=(0, 0), num_streams=num_streams
            )
        begin, values = time.perf_counter(), []
        for frame in clip.frames(prefetch=6, close=False, collect_garbage=False):
            values.append(int(np.asarray(frame[0])[16, 16]))
            frame.close()
        seconds = time.perf_counter() - begin
    finally:
        device.end()
    if any(abs(value - 20 - n) > 1 for n, value in enumerate(values)):
        raise SystemExit(f"wrong frames with {num_streams} streams: {values}")
    return seconds / case.num_frames, device.busy / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2, help="repetitions, of which the fastest is printed")
    args = parser.parse_args()
    core.num_threads = 4
    streams = (1, 2, 3)
    print("| input | launching | device alone | " + " | ".join(f"num_streams={k}" for k in streams) + " |")
    print("|---|---|---|" + "---|" * len(streams))
    for case in CASES:
        best = {k: min(measure(case, k) for _ in range(args.times)) for k in streams}
        cells = [f"{1000 * best[k][0]:.1f} ms, {100 * best[k][1]:.0f} %" for k in streams]
        first = f"{case.width}x{case.height} | {1000 * case.launch:.1f} ms | {1000 * case.compute:.0f} ms"
        print(f"| {first} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
