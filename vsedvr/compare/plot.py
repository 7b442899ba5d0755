"""Plots values by frame as SVG, which takes its colours from the page around it."""

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["line_plot"]

WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
"""Margins around the curves in pixels, for the numbers at the axes."""


def line_plot(
    title: str, numbers: Sequence[int], curves: Mapping[str, Sequence[float]], shown: Sequence[int], start: int = 0
) -> str:
    """Returns an SVG plot with a curve for each version.

    Args:
        title: what is plotted, with its unit, such as "PSNR (dB)".
        numbers: frame numbers, ascending.
        curves: values, one for each frame, by the version's name.
        shown: numbers of frames that the page shows; each gets a mark that carries its number as data-number.
        start: number of the first curve's colour.
    """
    low, high, step = _scale([value for values in curves.values() for value in values])
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)

    def x(n: float) -> float:
        return round(LEFT + (n - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    digits = max(0, -math.floor(math.log10(step)))
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by frame">']
    for k in range(round((high - low) / step) + 1):
        value = low + k * step
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text class="value" x="{LEFT - 8}" y="{y(value) + 4}">{value:.{digits}f}</text>')
    every = max(1, round(_step(last - first, 8)))
    for n in range(-(-first // every) * every, numbers[-1] + 1, every):
        parts.append(f'<text class="number" x="{x(n)}" y="{HEIGHT - 8}">{n}</text>')
    marked = set(shown)
    for n in shown:
        parts.append(f'<line class="shown" data-number="{n}" x1="{x(n)}" x2="{x(n)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for color, (name, values) in enumerate(curves.items(), start):
        points = " ".join(f"{x(n)},{y(value)}" for n, value in zip(numbers, values, strict=True))
        dots = "".join(f'<circle cx="{x(n)}" cy="{y(v)}" r="3"/>' for n, v in zip(numbers, values, strict=True) if n in marked)
        parts.append(f'<g class="color{color % 8}"><title>{escape(name)}</title><polyline points="{points}"/>{dots}</g>')
    return "\n".join([*parts, "</svg>"])


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the lowest and the highest number of the vertical axis, and the step between its numbers."""
    lowest, highest = min(values), max(values)
    step = _step(max(highest - lowest, abs(highest) * 1e-3, 1e-6), 4)
    low = math.floor(lowest / step) * step
    return low, max(math.ceil(highest / step) * step, low + step), step


def _step(distance: float, count: int) -> float:
    """Returns a step (1, 2 or 5 times a power of ten) that divides a distance into about `count` parts."""
    power = 10.0 ** math.floor(math.log10(distance / count))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= distance / count * 0.999)
