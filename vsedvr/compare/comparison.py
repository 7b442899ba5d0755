"""Compares versions of a clip: measures how close they are to the ground truth and to each other; chooses frames to show."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vsedvr.compare.choice import most_different, spread
from vsedvr.compare.metrics import WINDOW, psnr, rgb_to_y, ssim
from vsedvr.compare.pictures import Pictures
from vsedvr.compare.version import Version, fitted, show_size
from vsedvr.data.picture import Frame

__all__ = ["Comparison", "ComparisonSettings", "Measured", "compare", "count_steps"]

OVERHEAD = 200_000
"""Upper bound in bytes of a page without pictures and values: style, script and names."""

VALUE_BYTES = 60
"""Upper bound in bytes of what one frame of one version takes in the plots."""


@dataclass(frozen=True)
class ComparisonSettings:
    """Settings of a comparison."""

    frames: int = 8
    """Maximum number of frames shown: half of them are spread over the clip, the others are those that differ most."""
    measured: int = 100
    """Maximum number of frames measured, spread over the clip; raised to `frames` if that is larger."""
    only_spread: bool = False
    """Whether only the shown frames are measured, all of them spread over the clip."""
    enlarge: str = "bicubic"
    """Method to enlarge smaller versions, one of version.ENLARGEMENTS."""
    max_bytes: int = 200_000_000
    """Maximum size of the page in bytes."""


class Measured(NamedTuple):
    """Measurements of one frame of one version."""

    psnr: float | None
    """PSNR of the luma against the ground truth, in dB; None without ground truth."""
    ssim: float | None
    """SSIM of the luma against the ground truth, up to 1; None without ground truth."""
    difference: float
    """Mean absolute difference from the first version, over all samples, on a scale of 255."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: everything that a page shows."""

    versions: Sequence[Version]
    """The compared versions, without the ground truth."""
    truth: Version | None
    num_frames: int
    """Number of frames that all versions have."""
    size: tuple[int, int]
    """(height, width) in pixels in which all versions are shown and measured."""
    settings: ComparisonSettings
    pictures: Pictures
    measured: dict[str, dict[int, Measured]] = field(default_factory=dict)
    """Measurements, by the version's name and the frame's number."""
    most_different: set[int] = field(default_factory=set)
    """Numbers of the frames that are shown because they differ most."""

    def all_versions(self) -> list[Version]:
        """Returns the versions, followed by the ground truth if there is one."""
        return [*self.versions, *([self.truth] if self.truth else [])]

    def differences(self) -> dict[int, float]:
        """Returns, for each measured frame, the largest difference of any version from the first, on a scale of 255."""
        first, *others = self.measured.values()
        return {n: max((measured[n].difference for measured in others), default=0.0) for n in first}

    def picture(self, version: Version, n: int) -> Frame:
        """Returns frame n of a version, resized to the common size."""
        return fitted(version.frame(n), self.size, self.settings.enlarge)


def count_steps(versions: Sequence[Version], truth: Version | None, settings: ComparisonSettings) -> int:
    """Returns how often `compare` will call its on_frame."""
    return len(versions) * len(_numbers(_common_length(versions, truth), settings))


def compare(
    versions: Sequence[Version],
    truth: Version | None = None,
    settings: ComparisonSettings | None = None,
    on_frame: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Measures versions of a clip, one after the other, and keeps the pictures of some frames.

    Args:
        versions: versions to compare, with different names; at least two, or one if there is a ground truth. Frames with the
            same number belong together, and only frames that all versions have are compared. Each version is compared with
            the first one, so that the first one's frames are read several times.
        truth: the ground truth, in whose size all are compared. Without it the size is that of the largest version.
        settings: number of frames, and size of the page.
        on_frame: called with the version's name after each measured frame.

    Raises:
        ValueError: if there is nothing to compare, two versions have the same name, one has no frames, a frame cannot be
            read, or the page has no room for a single frame.
    """
    settings = settings or ComparisonSettings()
    num_frames = _common_length(versions, truth)
    numbers = _numbers(num_frames, settings)
    others = 0 if settings.only_spread or len(numbers) <= settings.frames else settings.frames // 2
    shown = spread(numbers, settings.frames - others)
    room = settings.max_bytes - OVERHEAD - VALUE_BYTES * len(versions) * len(numbers)
    pictures = Pictures(max(0, room) * 3 // 4)  # base64 takes 4 bytes for 3
    result = Comparison(versions, truth, num_frames, _common_size(versions, truth), settings, pictures)
    for version in versions:
        result.measured[version.name] = {}
        for n in numbers:
            picture = result.picture(version, n)
            result.measured[version.name][n] = _measure(result, version, picture, n)
            if n in shown:
                pictures.add(n, version.name, picture)
            on_frame(version.name)
        version.close()
    more = most_different(result.differences(), others, shown)
    result.most_different.update(more)
    more += spread([n for n in numbers if n not in shown + more], others - len(more))
    for version in result.all_versions():
        for n in more if version is not truth else sorted(shown + more):
            pictures.add(n, version.name, result.picture(version, n))
        version.close()
    return result


def _numbers(num_frames: int, settings: ComparisonSettings) -> list[int]:
    """Returns the numbers of the frames that are measured."""
    count = settings.frames if settings.only_spread else max(settings.frames, settings.measured)
    return spread(range(num_frames), count)


def _common_length(versions: Sequence[Version], truth: Version | None) -> int:
    everyone = [*versions, *([truth] if truth else [])]
    if len(everyone) < 2 or len({version.name for version in everyone}) < len(everyone):
        raise ValueError(f"two or more versions of different names can be compared, got {[v.name for v in everyone]}")
    for version in everyone:
        if not len(version.frames):
            raise ValueError(f"{version.name} has no frames")
    return min(len(version.frames) for version in everyone)


def _common_size(versions: Sequence[Version], truth: Version | None) -> tuple[int, int]:
    if truth:
        if min(truth.size) < WINDOW:
            raise ValueError(f"a ground truth of {show_size(truth.size)} is too small: SSIM needs {WINDOW}x{WINDOW} pixels")
        return truth.size
    return max((version.size for version in versions), key=math.prod)


def _measure(comparison: Comparison, version: Version, picture: Frame, n: int) -> Measured:
    first, truth = comparison.versions[0], comparison.truth
    difference = 0.0
    if version is not first:
        difference = float(np.abs(picture.astype(np.int16) - comparison.picture(first, n)).mean())
    if truth is None:
        return Measured(None, None, difference)
    luma, true_luma = rgb_to_y(picture), rgb_to_y(comparison.picture(truth, n))
    return Measured(psnr(luma, true_luma), ssim(luma, true_luma), difference)
