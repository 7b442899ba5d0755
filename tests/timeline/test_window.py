import json

import pytest

from oracle import DATA
from vsedvr.infer import PADDINGS, published_padding, window_indices
from vsedvr.model import EDVRConfig

TABLES = json.loads((DATA / "frame_indices.json").read_text())["tables"]


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table["all_inside"]])
def test_equals_the_reference(name: str) -> None:
    padding, num_frame, num_frames = name.split("/")
    config = EDVRConfig(num_frame=int(num_frame[1:]))
    length = int(num_frames[1:])
    assert [window_indices(n, length, config, padding) for n in range(length)] == TABLES[name]["indices"]


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
    config = EDVRConfig(num_frame=7)
    for n in range(num_frames):
        assert window_indices(n, num_frames, config, padding) == window_indices(n, num_frames, config, stand_in)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("center", range(5))
@pytest.mark.parametrize("num_frames", range(1, 9))
def test_windows_around_any_centre_lie_within_the_clip_and_have_no_gaps(padding: str, center: int, num_frames: int) -> None:
    config = EDVRConfig(num_frame=5, center_frame_idx=center)
    for n in range(num_frames):
        indices = window_indices(n, num_frames, config, padding)
        assert len(indices) == 5
        assert indices[center] == n
        assert set(indices) == set(range(min(indices), max(indices) + 1)) <= set(range(num_frames))


def test_windows_inside_the_clip_are_the_neighbours() -> None:
    assert window_indices(9, 20, EDVRConfig(num_frame=3, center_frame_idx=0), "circle") == [9, 10, 11]


def test_unknown_padding() -> None:
    with pytest.raises(ValueError, match=r"padding must be one of replicate, .* got 'mirror'"):
        window_indices(0, 9, EDVRConfig(), "mirror")


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        (EDVRConfig(), "reflection_circle"),
        (EDVRConfig(hr_in=True), "reflection_circle"),
        (EDVRConfig(with_predeblur=True), "replicate"),
        (EDVRConfig(hr_in=True, with_predeblur=True), "replicate"),
    ],
)
def test_published_padding(config: EDVRConfig, padding: str) -> None:
    assert published_padding(config) == padding
