"""Measures the filter on a CPU: frames per second of the embedded models, and the time that the filter itself adds.

    python -m benchmarks.cpu.filter

The clips are 8-bit YUV, in and out. `small` plays every size once, each other model one size once. What the filter adds is the
time of a frame with an engine that does nothing, less that of a callback that does nothing. Prints the table in filter.md.
"""

import platform
import time
from collections.abc import Sequence
from unittest import mock

import torch
import vapoursynth as vs

import vsedvr
from benchmarks.answers import check_same
from benchmarks.clips import clip_of, pixels, play
from benchmarks.inputs import moving_texture
from benchmarks.plain import plain_form
from benchmarks.timing import medians
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.infer import Engine
from vsedvr.infer.pending import Pending
from vsedvr.infer.source import Load
from vsedvr.ops.findings import processor
from vsedvr.weights import EMBEDDED

core = vs.core
SIZES = ((160, 120), (320, 180), (480, 270))


def main() -> None:
    print(
        f"{processor()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}, "
        f"VapourSynth R{core.core_version.release_major}, vsedvr {vsedvr.__version__}\n"
    )
    check_answer()
    print(markdown_table([["what", "clip", "result"]]), flush=True)
    for width, height in SIZES:
        print(row("small", width, height), flush=True)
    for model in sorted(EMBEDDED.keys() - {"small"}):
        print(row(model, *SIZES[1]), flush=True)
    milliseconds = 1000 * overhead(1920, 1080)
    what = "the filter itself, above a ModifyFrame that passes frames on"
    print(markdown_row([what, "1080p RGBS", f"{milliseconds:.1f} ms a frame"]))


def check_answer(width: int = 64, height: int = 48) -> None:
    """Compares a frame of the filter with that of the network in its plain form."""
    frames, model = moving_texture(5, height, width), vsedvr.load_model("small")
    restored = vsedvr.edvr(clip_of(frames), sc=False, device_index=-1).get_frame(2)
    with torch.inference_mode():
        check_same("the filter and the plain form", pixels(restored), plain_form(model, frames))


def row(model: str, width: int, height: int) -> str:
    """Measures a model and returns the table's row for it."""
    scale = vsedvr.load_model(model).config.scale
    return markdown_row([model, f"x{scale}, {width}x{height} YUV420P8", f"{fps(model, width, height):.2f} fps"])


def fps(model: str, width: int, height: int, times: int = 20) -> float:
    """Returns the frames per second of an embedded model, for the whole chain from 8-bit YUV to 8-bit YUV."""
    source = clip_of(moving_texture(times + 3, height, width)).resize.Bicubic(format=vs.YUV420P8, matrix=1)
    restored = vsedvr.edvr(source, model=model, device_index=-1)
    restored.get_frame(0)
    begin = time.perf_counter()
    play(restored[1 : times + 1])
    return times / (time.perf_counter() - begin)


def _passed_on(engine: Engine, indices: Sequence[int], load: Load, **options: object) -> Pending:
    """Stands in for Engine.launch, and gives the middle frame of the window as it is."""
    picture = load(indices[2])
    return Pending(picture, torch.ones((), dtype=torch.bool), lambda: None, lambda error: picture)


def overhead(width: int, height: int, frames: int = 100) -> float:
    """Returns the seconds per frame that the filter adds to its engine, minus those of a callback that passes frames on."""
    clip = core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=frames, color=[0.2, 0.4, 0.6], keep=True)
    model = vsedvr.EDVR(vsedvr.EDVRConfig(num_feat=8, scale=1, num_tail_feat=8)).eval()
    with mock.patch.object(Engine, "launch", _passed_on):

        def filtered() -> vs.VideoNode:
            return vsedvr.edvr(clip, model=model, tile=(0, 0), device_index=-1)

        check_same("the filter around an engine that does nothing", pixels(filtered().get_frame(3)), pixels(clip.get_frame(3)))
        # A new filter for each run, because the core caches the frames of the old ones
        ours = iter([filtered() for _ in range(20)])
        passed = iter([clip.std.ModifyFrame(clip, lambda n, f: f) for _ in range(20)])
        seconds = medians({"filter": lambda: play(next(ours)), "pass": lambda: play(next(passed))}, 5)
    return (seconds["filter"] - seconds["pass"]) / frames


if __name__ == "__main__":
    main()
