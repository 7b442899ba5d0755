import numpy as np

from vsedvr.compare.drawing import labelled_row


def test_a_row_shows_each_picture_under_its_name() -> None:
    red, blue = (np.full((5, 7, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    sheet = np.asarray(labelled_row({"a": red, "b": blue}, 3))
    assert (sheet[24:, :21] == (255, 0, 0)).all()
    assert (sheet[24:, 25:] == (0, 0, 255)).all()
    assert (sheet[:24, :21] < 128).any(), "the name"
