from itertools import chain

import pytest

from vsedvr.timeline import REACH, is_cut, scene_starts, within_scene

NAN = float("nan")


@pytest.mark.parametrize(
    ("before", "here", "after", "cut"),
    [
        (0.01, 0.20, 0.01, True),
        (0.20, 0.22, 0.21, False),  # fast motion
        (0.00, 0.05, 0.00, False),  # a small change in a still picture
        (0.10, 0.17, 0.05, False),
        (0.10, 0.19, 0.05, True),
        (0.00, 0.30, 0.29, False),  # a flash of one frame
        (NAN, NAN, NAN, False),
    ],
)
def test_cuts_stand_out(before: float, here: float, after: float, cut: bool) -> None:
    assert is_cut([before], here, [after]) is cut


@pytest.mark.parametrize("repeats", range(REACH))
def test_motion_between_repeated_pictures_is_no_cut_and_a_cut_between_them_is_one(repeats: int) -> None:
    """The clip is like animation on twos, threes and so on: each picture is repeated for `repeats` more frames."""

    def held(*changes: float) -> list[float]:
        return list(chain.from_iterable([change, *[0.0] * repeats] for change in changes))

    assert scene_starts(held(0, 0.2, 0.19, 0.21, 0.2)) == [0]
    assert scene_starts(held(0, 0.1, 0.1, 0.3, 0.1, 0.1)) == [0, 3 * (repeats + 1)]


def test_24_pictures_a_second_in_60_frames() -> None:
    pan = [0, 0, 0.2, 0, 0.2, 0, 0, 0.2, 0, 0.2, 0, 0, 0.2, 0]
    assert scene_starts(pan) == [0]
    assert scene_starts([*pan[:7], 0.5, *pan[8:]]) == [0, 7]


def test_cuts_next_to_the_ends_of_a_clip() -> None:
    assert scene_starts([0, 0.5, 0.01, 0.01]) == [0, 1]
    assert scene_starts([0, 0.01, 0.01, 0.5]) == [0, 3]
    assert scene_starts([9, 0.5]) == [0, 1]  # whatever stands for the first frame
    assert scene_starts([0]) == [0]


@pytest.mark.parametrize(
    ("indices", "n", "starts", "expected"),
    [
        ([3, 4, 5, 6, 7], 5, [], [3, 4, 5, 6, 7]),
        ([3, 4, 5, 6, 7], 5, [5], [5, 5, 5, 6, 7]),
        ([3, 4, 5, 6, 7], 5, [6], [3, 4, 5, 5, 5]),
        ([3, 4, 5, 6, 7], 5, [4, 5, 6, 7], [5, 5, 5, 5, 5]),
        ([3, 4, 5, 6, 7], 5, [4, 7], [4, 4, 5, 6, 6]),
        ([4, 3, 0, 1, 2], 0, [3], [2, 2, 0, 1, 2]),  # padded frames behind the cut
        ([4, 3, 0, 1, 2], 0, [1], [0, 0, 0, 0, 0]),
        ([6, 7, 8, 9, 5], 8, [6], [6, 7, 8, 9, 6]),
    ],
)
def test_windows_stay_in_their_scene(indices: list[int], n: int, starts: list[int], expected: list[int]) -> None:
    assert within_scene(indices, n, starts) == expected
