"""Computes frame numbers without looking at pictures: those of windows, scenes and segments."""

from vsedvr.timeline.scene import REACH, is_cut, scene_starts, within_scene
from vsedvr.timeline.segments import segments
from vsedvr.timeline.window import PADDINGS, Windows

__all__ = ["PADDINGS", "REACH", "Windows", "is_cut", "scene_starts", "segments", "within_scene"]
