"""Writes a comparison as one HTML file that contains everything it shows and loads nothing from anywhere."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from vsedvr.atomic import whole_file
from vsedvr.compare.comparison import Comparison, Measured
from vsedvr.compare.notes import notes_on
from vsedvr.compare.pictures import data_uri, thumbnail
from vsedvr.compare.plot import line_plot
from vsedvr.compare.version import show_size
from vsedvr.data.video import clock

__all__ = ["write_page"]

PICTURES = "<!-- pictures -->"
"""Mark in page.html that is replaced by the pictures. They are written one by one, so that memory holds them only once."""


def write_page(comparison: Comparison, path: Path) -> None:
    """Writes a comparison as a page. An old file is replaced only when the new one is complete.

    Args:
        comparison: result of `compare`.
        path: path of the HTML file.

    Raises:
        OSError: if it cannot be written; the message names the path.
    """
    script = _own_file("page.js").strip()
    names = [version.name for version in comparison.all_versions()]
    shown = sorted(comparison.pictures.by_frame)
    height, width = comparison.size
    values = {
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": _own_file("page.css").strip(),
        "title": escape(" | ".join(names)),
        "heading": ", ".join(f"<bdi>{escape(name)}</bdi>" for name in names),
        "summary": f"{len(shown)} of {comparison.num_frames} frames in {width}x{height}",
        "width": width,
        "height": height,
        "options": "".join(f'<option value="{k}">{escape(name)}</option>' for k, name in enumerate(names)),
        "strip": "\n".join(_strip(comparison, shown)),
        "plots": "\n".join(_plots(comparison, shown)),
        "columns": "".join(f"<th>{escape(column)}</th>" for column in _columns(comparison)),
        "rows": "\n".join(_rows(comparison)),
        "notes": "\n".join(f"<li>{escape(note)}</li>" for note in notes_on(comparison)),
    }
    head, tail = (Template(part).substitute(values) for part in _own_file("page.html").split(PICTURES))
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        file.writelines(_figures(comparison, shown))
        file.write(tail)


def _own_file(name: str) -> str:
    return files("vsedvr.compare").joinpath(name).read_text("utf-8")


def _strip(comparison: Comparison, shown: Sequence[int]) -> Iterator[str]:
    """Yields a button for each frame, with a thumbnail of the last version."""
    last = comparison.versions[-1].name
    for n in shown:
        time = _time(comparison, n)
        different = n in comparison.most_different
        text = f"Frame {n}" + (f", {time}" if time else "") + (", one of those that differ most" if different else "")
        parts = [
            f'<img src="{data_uri("jpeg", thumbnail(comparison.pictures.by_frame[n][last]))}" alt="">',
            f"<span>{n}</span>",
        ]
        if time:
            parts.append(f'<span class="time">{time}</span>')
        if different:
            parts.append('<span class="why">differs most</span>')
        yield f'<button type="button" data-number="{n}" title="{text}" aria-label="{text}">{"".join(parts)}</button>'


def _figures(comparison: Comparison, shown: Sequence[int]) -> Iterator[str]:
    """Yields all pictures, each with its name. A browser without JavaScript shows them one below the other."""
    height, width = comparison.size
    for n in shown:
        for k, version in enumerate(comparison.all_versions()):
            name, measured = escape(version.name), comparison.measured.get(version.name, {}).get(n)
            text = _score(measured) if measured else ""
            image = f'<img width="{width}" height="{height}" alt="{name}, frame {n}" src="'
            image += data_uri("webp", comparison.pictures.by_frame[n][version.name]) + '">'
            caption = f"<figcaption>{', '.join(filter(None, [f'<bdi>{name}</bdi>', f'frame {n}', text]))}</figcaption>"
            yield f'<figure data-frame="{n}" data-version="{k}" data-text="{text}">{image}{caption}</figure>\n'


def _plots(comparison: Comparison, shown: Sequence[int]) -> Iterator[str]:
    by_name = {name: list(by_frame.values()) for name, by_frame in comparison.measured.items()}
    numbers = list(next(iter(comparison.measured.values())))
    plots: dict[str, dict[str, list[float]]] = {}
    if comparison.truth:
        for title, value in {"PSNR (dB)": "psnr", "SSIM": "ssim"}.items():
            plots[title] = {name: [getattr(frame, value) for frame in frames] for name, frames in by_name.items()}
    elif len(by_name) > 1:
        first, *others = by_name
        plots[f"Mean difference from {first}"] = {name: [frame.difference for frame in by_name[name]] for name in others}
    for title, curves in plots.items():
        start = 0 if comparison.truth else 1  # each version has its colour, in whichever plot
        legend = "".join(
            f'<li class="color{k % 8}"><span class="swatch"></span><bdi>{escape(name)}</bdi></li>'
            for k, name in enumerate(curves, start)
        )
        plot = line_plot(title, numbers, curves, shown, start)
        heading = f'<h2>{escape(title)} by frame</h2><ul class="legend">{legend}</ul>'
        yield f'<section>{heading}<div class="wide">{plot}</div></section>'


def _columns(comparison: Comparison) -> list[str]:
    measures = ["PSNR", "SSIM"] if comparison.truth else []
    return ["Version", "Size", *measures, f"Difference from {comparison.versions[0].name}", "About"]


def _rows(comparison: Comparison) -> Iterator[str]:
    """Yields a row of the table for each version, with the means over all measured frames."""
    for version in comparison.all_versions():
        truth, by_frame = version is comparison.truth, comparison.measured.get(version.name, {}).values()
        cells = [version.name, show_size(version.size)]
        if comparison.truth:
            cells.append("" if truth else f"{np.mean([frame.psnr for frame in by_frame if frame.psnr is not None]):.2f} dB")
            cells.append("" if truth else f"{np.mean([frame.ssim for frame in by_frame if frame.ssim is not None]):.4f}")
        cells.append("" if truth else f"{np.mean([frame.difference for frame in by_frame]):.2f}")
        cells.append(", ".join(filter(None, ["ground truth" * truth, version.about])))
        yield f"<tr>{''.join(f'<td><bdi>{escape(cell)}</bdi></td>' for cell in cells)}</tr>"


def _score(measured: Measured) -> str:
    return "" if measured.psnr is None else f"{measured.psnr:.2f} dB, SSIM {measured.ssim:.4f}"


def _time(comparison: Comparison, n: int) -> str:
    """Formats the time of frame n in the first version whose times are known; "" if none are."""
    seconds = next((version.seconds for version in comparison.all_versions() if version.seconds), None)
    return clock(seconds(n)) if seconds else ""
