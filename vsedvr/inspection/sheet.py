"""Draws views of the alignment: a labelled sheet for each window, and strips that make clips."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from vsedvr.compare.drawing import GAP, LABEL_HEIGHT
from vsedvr.data.clip import Frame
from vsedvr.inspection.alignment import Flow, Gray, PlaceView, mean_length

__all__ = ["STRIPS", "color_wheel", "flow_scale", "sheet", "strips"]

STRIPS = ("features_before", "features_after", "flow_before", "flow_after", "attention")

CELL_WIDTH = 256
LABEL_WIDTH = 130


def flow_scale(views: Sequence[PlaceView]) -> float:
    """Returns the vector length, in pixels, for full colour: 99 % of the window's vectors before the alignment are shorter."""
    lengths = [np.linalg.norm(view.flow_before, axis=2) for view in views]
    return max(1.0, float(np.percentile(lengths, 99)))


def color_wheel(flow: Flow, full: float) -> Frame:
    """Draws motion as colours: direction as hue (red to the right, then clockwise), white where nothing moves.

    Args:
        flow: motion (h, w, 2) in pixels.
        full: length in pixels from which on colours are fully saturated.

    Returns:
        RGB (h, w, 3), uint8.
    """
    length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
    hsv = np.stack([angle, np.minimum(length / full, 1), np.ones_like(length)], 2).astype(np.float32)
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def strips(views: Sequence[PlaceView], full: float) -> dict[str, Frame]:
    """Draws a frame for each clip that inspect writes, by the clip's name: the window's places side by side, not scaled."""
    rows = {
        "features_before": [_rgb(view.before) for view in views],
        "features_after": [_rgb(view.after) for view in views],
        "flow_before": [color_wheel(view.flow_before, full) for view in views],
        "flow_after": [color_wheel(view.flow_after, full) for view in views],
        "attention": [_rgb(view.attention) for view in views if view.attention is not None],
    }
    return {name: np.concatenate(row, 1) for name, row in rows.items() if row}


def sheet(views: Sequence[PlaceView], center: int, frames: Sequence[Frame], full: float) -> Image.Image:
    """Draws a window on a sheet, with a column for each place.

    Args:
        views: views of all places.
        center: index of the reference frame's place.
        frames: the clip's frames in the window, (h, w, 3).
        full: vector length in pixels for full colour (see color_wheel).
    """
    height, width = frames[0].shape[:2]
    cell = CELL_WIDTH, max(1, round(CELL_WIDTH * height / width))
    rows = ["frame", *strips(views[:1], full)]
    picture = Image.new(
        "RGB", (LABEL_WIDTH + (cell[0] + GAP) * len(views), (cell[1] + LABEL_HEIGHT + GAP) * len(rows)), "white"
    )
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(rows):
        top = row * (cell[1] + LABEL_HEIGHT + GAP)
        draw.multiline_text((GAP, top + LABEL_HEIGHT), name.replace("_", "\n"), fill="black", font_size=16)
        for place, view in enumerate(views):
            left = LABEL_WIDTH + place * (cell[0] + GAP)
            cells = {"frame": frames[place], **strips([view], full)}
            picture.paste(Image.fromarray(cells[name]).resize(cell), (left, top + LABEL_HEIGHT))
            draw.text((left, top + 3), _caption(name, view, place - center), fill="black", font_size=16)
    wheel = _legend(LABEL_WIDTH - 2 * GAP)
    top = 3 * (cell[1] + LABEL_HEIGHT + GAP) + LABEL_HEIGHT + 48
    picture.paste(wheel, (GAP, top))
    draw.text((GAP, top + wheel.height), f"rim: {full:.1f} px", fill="black", font_size=16)
    return picture


def _caption(row: str, view: PlaceView, place: int) -> str:
    match row:
        case "frame":
            return f"{view.number} (reference)" if place == 0 else f"{view.number} ({place:+d})"
        case "flow_before":
            return f"mean {mean_length(view.flow_before):.2f} px"
        case "flow_after":
            return f"mean {mean_length(view.flow_after):.2f} px"
        case "attention" if view.attention is not None:
            return f"mean {view.attention.mean() / 255:.2f}"
    return ""


def _legend(size: int) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    wheel = color_wheel(np.stack([x, y], 2).astype(np.float32), 1)
    wheel[np.hypot(x, y) > 1] = 255
    return Image.fromarray(wheel)


def _rgb(gray: Gray) -> Frame:
    return np.stack([gray] * 3, 2)
