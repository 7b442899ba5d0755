import json
from itertools import chain

import pytest

from oracle import DATA
from vsedvr.timeline import PADDINGS, Windows

TABLES = json.loads((DATA / "frame_indices.json").read_text())["tables"]


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table["all_inside"]])
def test_equals_the_reference(name: str) -> None:
    padding, num_frame, num_frames = name.split("/")
    length, size = int(num_frames[1:]), int(num_frame[1:])
    windows = Windows(length, size, size // 2, padding)
    assert [windows.indices(n) for n in range(length)] == TABLES[name]["indices"]


@pytest.mark.parametrize(
    ("padding", "num_frames", "stand_in"),
    [
        ("circle", 6, "reflection"),
        ("reflection_circle", 6, "reflection"),
        ("reflection_circle", 4, "reflection"),
        ("circle", 3, "replicate"),
        ("reflection", 3, "replicate"),
        ("reflection", 1, "replicate"),
    ],
)
def test_clips_too_short_for_a_mode(padding: str, num_frames: int, stand_in: str) -> None:
    for n in range(num_frames):
        assert Windows(num_frames, 7, 3, padding).indices(n) == Windows(num_frames, 7, 3, stand_in).indices(n)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("center", range(5))
@pytest.mark.parametrize("num_frames", range(1, 13))
def test_windows_lie_within_the_clip_without_gaps_and_the_runs_say_the_same(padding: str, center: int, num_frames: int) -> None:
    windows = Windows(num_frames, 5, center, padding)
    every = [windows.indices(n) for n in range(num_frames)]
    for n, indices in enumerate(every):
        assert len(indices) == 5
        assert indices[center] == n
        assert set(indices) == set(range(min(indices), max(indices) + 1)) <= set(range(num_frames))
    for place, numbers in enumerate(zip(*every, strict=True)):
        assert list(chain(*windows.runs(place))) == list(numbers)


def test_windows_inside_the_clip_are_the_neighbours() -> None:
    assert Windows(20, 3, 0, "circle").indices(9) == [9, 10, 11]


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_clip_of_any_length_has_a_few_runs(padding: str) -> None:
    windows = Windows(134_000_000, 7, 3, padding)
    for place in range(7):
        runs = windows.runs(place)
        assert len(runs) <= 7
        assert sum(map(len, runs)) == 134_000_000


def test_frames_behind_a_cut_are_replaced() -> None:
    asked: list[tuple[int, int]] = []

    def scene_starts(first: int, last: int) -> list[int]:
        asked.append((first, last))
        return [10]

    assert Windows(20, 5, 2, "replicate").indices_in_scene(9, scene_starts) == [7, 8, 9, 9, 9]
    assert asked == [(7, 11)]


def test_unknown_padding() -> None:
    with pytest.raises(ValueError, match=r"padding must be one of replicate, .* got 'mirror'"):
        Windows(9, 5, 2, "mirror")
