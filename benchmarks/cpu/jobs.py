"""Measures what `vsedvr restore` costs in one process, in segments, and with two Dask workers.

    python -m benchmarks.cpu.jobs

A moving clip of 48x36 pixels is restored by `small` and encoded by x264: so small a picture shows what segments, starts of the
encoder and Dask cost at its largest. Every run restores the same frames, and the lossless results of a short clip are compared
first. Prints the tables in jobs.md.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import torch

import vsedvr
from benchmarks.inputs import moving_texture
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.ops.findings import processor

HEIGHT, WIDTH, RATE = 36, 48, 25
WHOLE = 10_000.0
"""Length in seconds of a segment that holds the whole clip."""
RUNS = {
    "one process, one segment": (1, WHOLE),
    "one process, segments of 10 s": (1, 10.0),
    "two workers, segments of 10 s": (2, 10.0),
}
"""(number of processes, length of a segment in seconds) by the name of each compared run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 1500], help="lengths of the clips; 500 and 1500")
    parser.add_argument("--times", type=int, default=2, help="how often each run is made, in turn; the smallest time counts")
    args = parser.parse_args(argv)
    print(
        f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}, "
        f"vsedvr {vsedvr.__version__}; the smallest of {args.times}.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        check_answers(Path(folder))
        print(markdown_table([["frames", "what", "seconds", "processor seconds"]]), flush=True)
        for frames in args.frames:
            film = write_film(Path(folder) / f"{frames}.mkv", frames)
            measured: dict[str, list[tuple[float, float]]] = {what: [] for what in RUNS}
            for _ in range(args.times):
                for what, (jobs, seconds) in RUNS.items():
                    measured[what].append(timed(film, jobs, seconds))
            for what, times in measured.items():
                wall, cpu = (min(values) for values in zip(*times, strict=True))
                print(markdown_row([frames, what, f"{wall:.1f}", f"{cpu:.1f}"]), flush=True)


def write_film(path: Path, frames: int) -> Path:
    """Writes a moving clip as lossless video without sound."""
    picture = (moving_texture(8, HEIGHT, WIDTH) * 255).byte().permute(0, 2, 3, 1).numpy()
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for n in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture[abs(n % 14 - 7)], format="rgb24")))
        container.mux(stream.encode(None))
    return path


def check_answers(folder: Path) -> None:
    """Compares the lossless results of one process, of segments and of two workers for a short clip.

    Raises:
        SystemExit: if they differ.
    """
    film = write_film(folder / "short.mkv", 60)
    results = []
    for number, (jobs, seconds) in enumerate(((1, WHOLE), (1, 1.0), (2, 1.0))):
        output = folder / f"short{number}.mkv"
        vsedvr.restore(film, output, device="cpu", codec="ffv1", jobs=jobs, segment_seconds=seconds)
        with av.open(output) as container:
            results.append([frame.to_ndarray().tobytes() for frame in container.decode(video=0)])
    if not results[0] == results[1] == results[2] or len(results[0]) != 60:
        raise SystemExit("one process, segments and workers do not make the same frames")


def timed(film: Path, jobs: int, seconds: float) -> tuple[float, float]:
    """Restores a film; returns the seconds that it took by the clock, and the CPU seconds of all processes with workers."""
    output = film.with_name("restored.mkv")
    before, begin = os.times(), time.perf_counter()
    vsedvr.restore(film, output, device="cpu", jobs=jobs, segment_seconds=seconds, overwrite=True)
    wall, after = time.perf_counter() - begin, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


if __name__ == "__main__":
    main()
