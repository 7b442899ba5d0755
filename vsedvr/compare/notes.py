"""Writes notes for the reader of a comparison: what was enlarged, left out, or measured in which way."""

from collections.abc import Iterator, Sequence

from vsedvr.compare.comparison import Comparison
from vsedvr.compare.version import Version, show_size

__all__ = ["notes_on"]

SHAPES_DIFFER = 0.02
"""Relative difference of two aspect ratios above which a note is written. Below, codecs have only rounded the size."""


def notes_on(comparison: Comparison) -> list[str]:
    """Returns sentences that the reader of a comparison should know."""
    return [*_lengths(comparison), *_sizes(comparison), *_damage(comparison), *_left_out(comparison), *_measures(comparison)]


def _lengths(comparison: Comparison) -> Iterator[str]:
    lengths = {version.name: len(version.frames) for version in comparison.all_versions()}
    if len(set(lengths.values())) > 1:
        counted = _listed([f"{name} has {length} frames" for name, length in lengths.items()])
        yield f"{counted}: the first {comparison.num_frames} are compared."


def _sizes(comparison: Comparison) -> Iterator[str]:
    for version in comparison.all_versions():
        if version.size == comparison.size:
            continue
        larger = version.size[0] > comparison.size[0] or version.size[1] > comparison.size[1]
        way = "reduced to" if larger else "enlarged to"
        method = "bicubic" if larger else comparison.settings.enlarge
        shape = "; its shape is another, so it is stretched" if _stretched(version, comparison.size) else ""
        yield (
            f"{version.name} is {show_size(version.size)}, shown and measured {way} {show_size(comparison.size)} "
            f"({method}){shape}."
        )


def _stretched(version: Version, size: tuple[int, int]) -> bool:
    (height, width), (other_height, other_width) = version.size, size
    return abs(width * other_height / (height * other_width) - 1) > SHAPES_DIFFER


def _damage(comparison: Comparison) -> Iterator[str]:
    for version in comparison.all_versions():
        lost: Sequence[int] = getattr(version.frames, "lost", ())
        if lost:
            yield (
                f"{version.name} is damaged: {len(lost)} frames are lost, the first one before frame {lost[0]}. From there on "
                "its frames are later than those of the same numbers in the others."
            )


def _left_out(comparison: Comparison) -> Iterator[str]:
    left_out = len(comparison.pictures.left_out)
    if left_out:
        yield (
            f"{left_out} of the frames to show {'is' if left_out == 1 else 'are'} left out, because the page would be larger "
            f"than {comparison.settings.max_bytes / 1e6:.0f} MB."
        )


def _measures(comparison: Comparison) -> Iterator[str]:
    measured = len(next(iter(comparison.measured.values())))
    if measured < comparison.num_frames:
        which = f"{measured} of {comparison.num_frames} frames, spread over the clip"
    else:
        which = f"all {measured} frames"
    if comparison.truth:
        yield f"PSNR and SSIM are those of the luma (BT.601); the table has their means over {which}."
    if len(comparison.measured) > 1:
        yield (
            f"The difference from {comparison.versions[0].name} is the mean absolute difference of all samples, on a scale of "
            f"255, of {which}."
        )
        if not any(comparison.differences().values()):
            yield "The versions do not differ in any of these frames."


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"
