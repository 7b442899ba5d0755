"""The filter as users run it: scripts through vspipe, in a process of their own."""

from pathlib import Path

import pytest

from conftest import Vspipe

SOURCE = """
import sys
import numpy as np
import vapoursynth as vs
import vsedvr
core = vs.core

def source(width, height, length, format=vs.RGBS):
    blank = core.std.BlankClip(format=format, width=width, height=height, length=length)
    def render(n, f):
        print("render", n, file=sys.stderr, flush=True)
        out = f.copy()
        for plane in range(3):
            np.asarray(out[plane])[:] = np.random.default_rng(3 * n + plane).random((height, width)) * 0.1
        return out
    return blank.std.ModifyFrame(blank, render)
"""


def renders(stderr: bytes) -> list[int]:
    return [int(line.split()[1]) for line in stderr.decode().splitlines() if line.startswith("render ")]


@pytest.fixture(scope="module")
def single(tiny_x1: Path) -> str:
    """Makes a script with one filter behind a source that tells when it renders a frame."""
    return f"{SOURCE}\nclip = vsedvr.edvr(source(40, 24, 60), model={str(tiny_x1)!r})\nclip.set_output()\n"


@pytest.fixture(scope="module")
def chained(single: str, tiny_x1: Path) -> str:
    return f"{single}\nclip = vsedvr.edvr(clip, model={str(tiny_x1)!r})\nclip.set_output()\n"


def test_building_the_graph_renders_frame_0_once_and_nothing_else(vspipe: Vspipe, single: str) -> None:
    result = vspipe(single, "--info")
    assert result.returncode == 0
    assert renders(result.stderr) == [0]


def test_only_frames_that_are_needed_are_rendered_each_once(vspipe: Vspipe, single: str) -> None:
    result = vspipe(single, "-s", "30", "-e", "37")
    assert result.returncode == 0
    # two on either side for the window, and one before them for the difference of the first
    assert sorted(renders(result.stderr)) == [0, *range(30 - 3, 37 + 3)]


@pytest.mark.parametrize("requests", ["1", "8"])
@pytest.mark.parametrize("script", ["single", "chained"])
def test_each_frame_is_rendered_once_in_a_run(
    vspipe: Vspipe, request: pytest.FixtureRequest, script: str, requests: str
) -> None:
    """Only frame 0 is rendered twice: for its props when the filter is created, and for its picture in the run."""
    result = vspipe(request.getfixturevalue(script), "-r", requests)
    assert result.returncode == 0
    assert sorted(renders(result.stderr)) == [0, *range(60)]


def test_a_matrix_makes_the_first_look_at_frame_0_needless(vspipe: Vspipe, tiny_x1: Path) -> None:
    script = f"""{SOURCE}
clip = source(40, 24, 10, vs.YUV444PS)
vsedvr.edvr(clip, {str(tiny_x1)!r}, matrix="709").set_output()
"""
    assert renders(vspipe(script, "--info").stderr) == []
    result = vspipe(script)
    assert result.returncode == 0
    assert sorted(renders(result.stderr)) == list(range(10))


@pytest.mark.parametrize("script", ["single", "chained"])
def test_output_is_bit_identical_whatever_the_requests_and_the_cache(
    vspipe: Vspipe, request: pytest.FixtureRequest, script: str
) -> None:
    text = request.getfixturevalue(script)
    linear = frames(vspipe(text, "-r", "1").stdout)
    assert frames(vspipe(text, "-r", "8").stdout) == linear
    assert frames(vspipe(text, "-s", "31", "-e", "33").stdout) == linear[31:34]
    assert frames(vspipe(f"{text}\ncore.max_cache_size = 1", "-r", "8").stdout) == linear
    assert frames(vspipe(f"{text}\nclip.std.Reverse().set_output()").stdout) == linear[::-1]


def frames(video: bytes) -> list[bytes]:
    """Splits raw video into frames of 40x24 RGBS."""
    size = 3 * 40 * 24 * 4
    assert len(video) % size == 0
    return [video[k : k + size] for k in range(0, len(video), size)]


@pytest.mark.parametrize("stages", [1, 2])
def test_no_hang_at_1080p_with_a_full_cache(vspipe: Vspipe, tiny_x1: Path, stages: int) -> None:
    script = f"""{SOURCE}
core.max_cache_size = 100
black, gray = (core.std.BlankClip(format=vs.RGBS, width=1920, height=1080, length=3, color=[v] * 3) for v in (0, 0.5))
clip = core.std.Interleave([black, gray])  # differences so large that frames ahead are looked at
for _ in range({stages}):
    clip = vsedvr.edvr(clip, model={str(tiny_x1)!r})
clip.set_output()
"""
    result = vspipe(script, "-r", "8", timeout=600)
    assert result.returncode == 0
    assert len(result.stdout) == 6 * 3 * 1920 * 1080 * 4


def test_stdout_is_the_video_and_nothing_else(vspipe: Vspipe) -> None:
    script = f"""{SOURCE}
clip = source(16, 12, 3).resize.Bicubic(format=vs.YUV420P8, matrix=1)
vsedvr.edvr(clip, precision="bf16").set_output()
"""
    result = vspipe(script, "-c", "y4m")
    header, _, frames = result.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 C420")
    assert b"W64 H48" in header
    assert len(frames) == 3 * (len(b"FRAME\n") + 64 * 48 * 3 // 2)


def test_an_error_while_building_is_readable(vspipe: Vspipe) -> None:
    result = vspipe(f"{SOURCE}\nvsedvr.edvr(core.std.BlankClip(format=vs.YUV420P8)).set_output()")
    assert result.returncode == 1
    assert result.stdout == b""
    message = result.stderr.decode()
    assert "edvr: clip is YUV and its matrix is not known" in message
    assert message.count("Traceback") == 1
    assert "The above exception" not in message
    assert message.count("File ") < 5, "the script and the door, no more"


def test_an_error_upstream_is_readable_and_frames_before_it_are_written(vspipe: Vspipe, tiny_x1: Path) -> None:
    script = f"""{SOURCE}
clip = source(16, 16, 20)
def fail(n, f):
    if n == 12:
        raise ValueError("frame 12 is broken")
    return f
vsedvr.edvr(clip.std.ModifyFrame(clip, fail), model={str(tiny_x1)!r}).set_output()
"""
    result = vspipe(script, "-r", "1")
    assert result.returncode == 1
    assert "frame 12 is broken" in result.stderr.decode()
    assert len(result.stdout) == 10 * 3 * 16 * 16 * 4, "frame 10 is the first that needs frame 12"


def test_an_error_inside_is_readable(vspipe: Vspipe, tiny_x1: Path) -> None:
    script = f"""{SOURCE}
import torch
model = vsedvr.load_model({str(tiny_x1)!r})
def out_of_memory(self, feat):
    raise torch.OutOfMemoryError("no memory left for the features")
type(model).fuse = out_of_memory
vsedvr.edvr(source(16, 16, 5), model=model).set_output()
"""
    result = vspipe(script, "-r", "1")  # with more requests at once, the error of any of them may come first
    assert result.returncode == 1
    assert result.stdout == b""
    message = result.stderr.decode()
    assert "edvr: frame 0 cannot be restored: out of memory" in message
    assert message.count("Traceback") == 1
    assert "tile (16, 16)" in message, "the argument to change"
    assert "no memory left for the features" in message
