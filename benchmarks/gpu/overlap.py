"""How much of the time a device is busy, by the number of frames that it is given at a time. A simulation, on a CPU.

In place of a card, a thread sleeps for as long as the card is assumed to compute, and launching takes as much of Python's time
as it is assumed to take. Everything else is real: VapourSynth, the filter's graph, the conversions, and all copies. As in most
videos, some samples of each frame are whiter than white.
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
from vsedvr.evaluation.table import markdown_row
from vsedvr.infer import Engine, Pending
from vsedvr.infer.source import Load

__all__ = ["CASES", "Case", "Measured", "SleepingDevice", "measure"]

core = vs.core
DEVICE = torch.device("meta")
"""Stands for a card, so that frames are launched in another thread than they are copied in, as with a card."""
PREFETCH = 6
"""Number of frames that are requested at a time."""


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


class Measured(NamedTuple):
    """How a clip was played, from its first frame to its last."""

    seconds: float
    """Seconds a frame."""
    busy: float
    """Share of the time in which the device was busy."""
    processor: float
    """Seconds of a processor core that a frame took, without launching it."""


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
    # More than there can be frames between the first request and the last one that is not fetched yet
    results = itertools.cycle([torch.rand(3, 4 * case.height, 4 * case.width).half() for _ in range(2 * PREFETCH + 2)])

    class SleepingEngine(Engine):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.device = DEVICE
            self.kept: dict[int, float] = {}

        def launch(
            self, indices: Sequence[int], load: Load, *, keep_beyond: bool = False, dtype: torch.dtype | None = None
        ) -> Pending:
            with self.lock:
                if keep_beyond:
                    load(indices[self.config.center])
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
    """Makes a clip whose frames differ in brightness, with a row that is whiter than white."""
    blank = core.std.BlankClip(
        format=vs.YUV420P8, width=case.width, height=case.height, length=case.num_frames, color=[0, 128, 128], keep=True
    ).std.SetFrameProps(_Matrix=1, _Range=vs.RANGE_LIMITED)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        out = f.copy()
        np.asarray(out[0])[:] = 20 + n
        np.asarray(out[0])[-1] = 254
        return out

    return blank.std.ModifyFrame(blank, fill)


def measure(case: Case, num_streams: int) -> Measured:
    """Plays a clip through the filter in fp16, as on a GPU, and checks the brightness of every frame.

    Raises:
        SystemExit: if a frame is not what it must be.
    """
    device = SleepingDevice()
    try:
        with (
            patch("vsedvr.infer.build.Engine", engine_class(case, device)),
            patch("vsedvr.filter.door.choose_precision", lambda *given, **named: torch.float16),
        ):
            clip = vsedvr.edvr(
                source(case), vsedvr.EDVR(), device_index=-1, matrix="709", sc=False, tile=(0, 0), num_streams=num_streams
            )
        begin, processor, values = time.perf_counter(), time.process_time(), list[int]()
        for frame in clip.frames(prefetch=PREFETCH, backlog=PREFETCH, close=False, collect_garbage=False):
            values.append(int(np.asarray(frame[0])[16, 16]))
            frame.close()
        seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    finally:
        device.end()
    if any(abs(value - 20 - n) > 1 for n, value in enumerate(values)):
        raise SystemExit(f"wrong frames with {num_streams} streams: {values}")
    return Measured(seconds / case.num_frames, device.busy / seconds, processor / case.num_frames - case.launch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2, help="repetitions, of which the fastest is printed")
    args = parser.parse_args()
    core.num_threads = 4
    streams = (1, 2, 3)
    head = ["input", "launching", "device alone", *(f"num_streams={k}" for k in streams), "processor"]
    print(markdown_row(head), "|" + "---|" * len(head), sep="\n")
    for case in CASES:
        runs = {k: [measure(case, k) for _ in range(args.times)] for k in streams}
        fastest = [min(of_streams) for of_streams in runs.values()]
        cells = [f"{1000 * seconds:.1f} ms, {100 * busy:.0f} %" for seconds, busy, _ in fastest]
        processor = 1000 * min(run.processor for of_streams in runs.values() for run in of_streams)
        assumed = [f"{case.width}x{case.height}", f"{1000 * case.launch:.1f} ms", f"{1000 * case.compute:.0f} ms"]
        print(markdown_row([*assumed, *cells, f"{processor:.1f} ms"]), flush=True)


if __name__ == "__main__":
    main()
