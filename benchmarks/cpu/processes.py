"""Measures the memory of several vspipes at once, as started by tools that encode scenes side by side.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu.processes

One, two and three vspipes restore a 320x180 clip with `small` at the same time, whole pictures. The proportional
set size (PSS) of each is read while they run: pages that processes share, such as libraries, are divided among them, so the sum
is what all take together. All must write the same video. Linux only. Prints the table in processes.md.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.cpu.filter import check_answer
from vsedvr.evaluation.table import markdown_row, markdown_table

FRAMES = 4
SCRIPT = f"""
import vapoursynth as vs
import vsedvr
from benchmarks.clips import clip_of
from benchmarks.inputs import moving_texture
clip = clip_of(moving_texture({FRAMES}, 180, 320)).resize.Bicubic(format=vs.YUV420P8, matrix=1)
vsedvr.edvr(clip, device_index=-1, tile=(0, 0)).set_output()
"""


def main() -> None:
    check_answer()
    print(markdown_table([["vspipes", "largest of one, MiB", "largest sum, MiB"]]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        script, videos = Path(folder, "script.vpy"), set()
        script.write_text(f"import sys\nsys.path.insert(0, {str(Path.cwd())!r})\n{SCRIPT}")
        for count in (1, 2, 3):
            outputs = [Path(folder, f"{k}.y4m") for k in range(count)]
            one, together = peaks(script, outputs)
            videos |= {hashlib.sha256(output.read_bytes()).hexdigest() for output in outputs}
            if len(videos) > 1:
                raise SystemExit("the processes wrote different videos")
            print(markdown_row([str(count), f"{one:.0f}", f"{together:.0f}"]), flush=True)


def peaks(script: Path, outputs: list[Path]) -> tuple[float, float]:
    """Runs a vspipe for each output; returns the largest PSS of one, and the largest sum at any time, in MiB."""
    vspipe = Path(sys.executable).parent / "vspipe"
    processes = [
        psutil.Popen([vspipe, "-c", "y4m", script, output], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for output in outputs
    ]
    one = together = 0.0
    while any(process.poll() is None for process in processes):
        now = [proportional(process) for process in processes]
        one, together = max(one, *now), max(together, sum(now))
        time.sleep(0.1)
    if any(process.returncode for process in processes):
        raise SystemExit("a vspipe failed")
    return one, together


def proportional(process: psutil.Process) -> float:
    """Returns a process's PSS in MiB, including its children, since vspipe may be a launcher; 0 if it has ended."""
    try:
        return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 2**20
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    main()
