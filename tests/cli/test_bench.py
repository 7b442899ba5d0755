"""`vsedvr bench`, for real with tiny pictures, and its division of time with a simulated clock."""

import json
import math
import sys
import time

import pytest
import vapoursynth as vs

from vsedvr.cli import bench, main
from vsedvr.cli.bench import Size, Speed, measure
from vsedvr.weights import EMBEDDED


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses pictures that take hardly any time."""
    monkeypatch.setattr(bench, "SIZES", ((32, 16), (34, 18)))
    monkeypatch.setattr(bench, "SMALL_SIZES", ((16, 16),))
    monkeypatch.setattr(bench, "MAX_FRAMES", 3)


@pytest.mark.usefixtures("tiny")
def test_all_embedded_models_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    first, empty, head, *rows = out.splitlines()
    assert first.endswith(", fp32; the filter alone, without reading and encoding")
    assert not empty
    assert head.split("  ")[0] == "model"
    assert [row.split()[:2] for row in rows] == [[model, size] for model in EMBEDDED for size in ("32x16", "34x18")]
    assert all(float(row.split()[2]) > 0 for row in rows)
    count = 2 * len(EMBEDDED)
    assert not err or f"sizes measured: {count} of {count}" in err


@pytest.mark.usefixtures("tiny")
def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", "--model", "denoise", "--device", "cpu", "--precision", "fp32"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["device"]
    assert content["precision"] == "fp32"
    assert [(speed["model"], speed["width"], speed["height"]) for speed in content["speeds"]] == [
        ("denoise", 32, 16),
        ("denoise", 34, 18),
    ]
    for speed in content["speeds"]:
        assert speed["film_hours"] * speed["frames_per_second"] == pytest.approx(48.0)
        assert speed["estimated_from"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere.pth"], "vsedvr bench: no checkpoint at 'nowhere.pth'"),
        (["--device", "cuda:99"], "vsedvr bench: device_index"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(message)


SIZES: tuple[Size, ...] = (720, 480), (1280, 720), (1920, 1080)


class Machine:
    """Simulates a clock, and a filter whose time is proportional to the number of pixels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pixels_per_second: float, pixels_in_memory: float = math.inf) -> None:
        self.now = 1000.0
        self.rate = pixels_per_second
        self.room = pixels_in_memory
        self.runs: list[tuple[Size, int]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def seconds(self, size: Size, frames: int) -> float:
        self.runs.append((size, frames))
        if size[0] * size[1] > self.room:
            return math.nan
        frame = size[0] * size[1] / self.rate
        self.now += frame * (frames + bench.WARM_UP)
        return frame


@pytest.mark.parametrize("rate", [1e3, 1e5, 1e6, 2e6, 1e7, 1e9])
def test_the_budget_is_kept_and_what_does_not_fit_is_estimated(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    machine = Machine(monkeypatch, rate)
    speeds = list(measure("small", machine.seconds, SIZES, 30.0))
    first = 192 * 144 / rate * (bench.MIN_FRAMES + bench.WARM_UP)
    assert machine.now - 1000 <= 30 + first
    measured = [size for size, _ in machine.runs]
    for speed, size in zip(speeds, SIZES, strict=True):
        assert (speed.model, (speed.width, speed.height)) == ("small", size)
        assert speed.seconds == pytest.approx(size[0] * size[1] / rate)
        assert speed.estimated_from == (None if size in measured else measured[-1])
    assert all(bench.MIN_FRAMES <= frames <= bench.MAX_FRAMES for _, frames in machine.runs)
    assert len(measured) == {1e3: 1, 1e5: 2, 1e6: 4}.get(rate, 5)


def test_too_little_memory_for_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1e7, pixels_in_memory=1e6)
    *others, last = measure("small", machine.seconds, SIZES, 30.0)
    assert all(not math.isnan(speed.seconds) for speed in others)
    assert math.isnan(last.seconds)
    assert last.estimated_from is None
    assert bench._row(last) == ("small", "1920x1080", "-", "-", "too little memory")
    assert bench._entry(last)["frames_per_second"] is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("edvr: out of memory, and tile (32, 32) cannot be smaller", "memory"),
        ("edvr: frame 3 is not finite in fp32: the weights of the model are broken", "error"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_errors_of_the_filter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: str, outcome: str
) -> None:
    def fail(clip: vs.VideoNode, **options: object) -> vs.VideoNode:
        raise vs.Error(error)

    monkeypatch.setattr(bench, "edvr", fail)
    status = main(["bench", "--model", "small", "--device", "cpu"])
    out, err = capsys.readouterr()
    if outcome == "memory":
        assert status == 0
        assert out.count("too little memory") == 2
    else:
        assert status == 1
        assert err.endswith(f"vsedvr bench: {error.removeprefix('edvr: ')}\n")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (1.0, "1 min"),
        (59 * 60.0, "59 min"),
        (5 * 3600 + 20 * 60.0, "5 h 20 min"),
        (27 * 3600.0, "1 d 3 h"),
        (86399.0, "1 d 0 h"),
    ],
)
def test_the_time_of_a_film(seconds: float, shown: str) -> None:
    assert bench._duration(seconds) == shown
    row = bench._row(Speed("small", 720, 480, seconds / bench.FILM_FRAMES, (192, 144)))
    assert row[3:] == (shown, "estimated from 192x144")


def test_without_vapoursynth_it_names_vapoursynth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vsedvr.cli.bench")
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    assert main(["bench"]) == 1
    assert capsys.readouterr().err == "vsedvr bench needs vapoursynth; pip install vapoursynth brings it\n"
