import colorsys

import numpy as np
import pytest
from numpy.typing import NDArray

from vsedvr.inspection.alignment import PlaceView
from vsedvr.inspection.sheet import STRIPS, color_wheel, flow_scale, sheet, strips


def flow_of(dx: float, dy: float) -> NDArray[np.float32]:
    return np.broadcast_to(np.array([dx, dy], np.float32), (20, 30, 2)).copy()


def view_of(number: int, dx: float, attention: int | None = 128) -> PlaceView:
    gray = np.full((20, 30), 10 * number, np.uint8)
    attended = None if attention is None else np.full((20, 30), attention, np.uint8)
    return PlaceView(number, gray, gray + 1, flow_of(dx, 0), flow_of(dx / 2, 0), attended)


VIEWS = [view_of(n, 4.0 * (n - 3)) for n in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("dx", "dy", "hue"), [(3, 0, 0), (0, 3, 0.25), (-3, 0, 0.5), (0, -3, 0.75), (1.5, 1.5 * 3**0.5, 1 / 6)]
)
def test_directions_are_hues(dx: float, dy: float, hue: float) -> None:
    expected = np.array(colorsys.hsv_to_rgb(hue, 1, 1)) * 255
    np.testing.assert_allclose(color_wheel(flow_of(dx, dy), 3)[5, 5], expected, atol=2)
    np.testing.assert_allclose(color_wheel(flow_of(dx, dy), 1)[5, 5], expected, atol=2)
    pale = 255 - (255 - expected) / 2
    np.testing.assert_allclose(color_wheel(flow_of(dx, dy), 6)[5, 5], pale, atol=2)


def test_no_motion_is_white() -> None:
    assert (color_wheel(flow_of(0, 0), 1) == 255).all()


def test_full_colour_is_for_the_fastest_but_at_least_a_pixel() -> None:
    assert flow_scale(VIEWS) == pytest.approx(8)
    assert flow_scale([view_of(1, 0.1)]) == 1


def test_strips_have_the_places_side_by_side() -> None:
    of_name = strips(VIEWS, 8)
    assert tuple(of_name) == STRIPS
    assert all(strip.shape == (20, 150, 3) for strip in of_name.values())
    assert of_name["features_before"][0, ::30].tolist() == [[10] * 3, [20] * 3, [30] * 3, [40] * 3, [50] * 3]
    assert of_name["features_after"][0, 30].tolist() == [21] * 3
    assert of_name["flow_before"][0, 60].tolist() == [255] * 3
    assert of_name["flow_before"][0, 120].tolist() == [255, 0, 0]
    assert of_name["flow_after"][0, 120].tolist() == [255, 128, 128]
    assert of_name["attention"][0, 0].tolist() == [128] * 3
    assert "attention" not in strips([view_of(1, 1, None)], 8)


def test_the_sheet_has_a_column_for_each_place_and_a_row_for_each_kind() -> None:
    frames = [np.full((20, 30, 3), (n, 200, 0), np.uint8) for n in range(5)]
    picture = np.asarray(sheet(VIEWS, 2, frames, 8))
    cell_height = round(256 * 20 / 30)
    assert picture.shape == (6 * (cell_height + 28), 130 + 5 * 260, 3)
    for row, values in enumerate([[0, 200, 0], [10] * 3, [11] * 3]):
        assert picture[row * (cell_height + 28) + 24 + 80, 130 + 100].tolist() == values
    last = 130 + 4 * 260 + 100
    assert picture[3 * (cell_height + 28) + 24 + 80, last].tolist() == [255, 0, 0]
    without = np.asarray(sheet([view_of(n, 1, None) for n in range(5)], 2, frames, 8))
    assert without.shape[0] == 5 * (cell_height + 28)
