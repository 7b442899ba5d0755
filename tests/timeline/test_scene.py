import pytest

from vsedvr.infer import is_cut, within_scene


@pytest.mark.parametrize(
    ("before", "here", "after", "cut"),
    [
        (0.01, 0.20, 0.01, True),
        (0.20, 0.22, 0.21, False),  # fast motion
        (0.00, 0.05, 0.00, False),  # a small change in a still picture
        (0.10, 0.17, 0.05, False),
        (0.10, 0.19, 0.05, True),
        (0.00, 0.30, 0.29, False),  # a flash of one frame
        (float("nan"), float("nan"), float("nan"), False),
    ],
)
def test_cuts_stand_out(before: float, here: float, after: float, cut: bool) -> None:
    assert is_cut(before, here, after) is cut


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
