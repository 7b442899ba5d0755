"""The VapourSynth filter `edvr`. No other module that restores frames imports vapoursynth."""

from vsedvr.filter import waiting  # noqa: F401 (before anything that loads torch)
from vsedvr.filter.door import edvr

__all__ = ["edvr"]
