from itertools import pairwise

import pytest

from vsedvr.timeline import segments


@pytest.mark.parametrize("num_frames", [1, 2, 9, 10, 14, 15, 16, 100, 1001])
@pytest.mark.parametrize("length", [1, 2, 10, 240])
def test_segments_cover_the_clip_once_and_in_order(num_frames: int, length: int) -> None:
    parts = segments(range(7, 7 + num_frames), length)
    assert [n for part in parts for n in part] == list(range(7, 7 + num_frames))
    assert all(3 / 4 * length <= len(part) <= 1.5 * length for part in parts[:-1])
    assert 0 < len(parts[-1]) <= 1.5 * length


def test_an_empty_range_has_no_segments() -> None:
    assert segments(range(5, 5), 10) == []


def test_boundaries_are_at_the_nearest_scene_start() -> None:
    parts = segments(range(300), 100, candidates=[0, 60, 80, 95, 110, 214, 250])
    assert [part.start for part in parts] == [0, 95, 214]


def test_candidates_that_start_no_scene_are_passed_over() -> None:
    parts = segments(range(300), 100, [95, 110, 214], is_start=lambda n: n != 95)
    assert [part.start for part in parts] == [0, 110, 214]


def test_only_candidates_near_a_boundary_are_asked() -> None:
    asked = []

    def is_start(n: int) -> bool:
        asked.append(n)
        return False

    segments(range(10_000), 1000, range(0, 10_000, 10), is_start)
    assert len(asked) == len(set(asked))
    assert all(min(n % 1000, 1000 - n % 1000) <= 250 for n in asked)


def test_boundaries_rise_whatever_the_candidates() -> None:
    parts = segments(range(50), 2, candidates=range(50))
    assert all(a.stop == b.start for a, b in pairwise(parts))


def test_a_length_of_no_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        segments(range(10), 0)
