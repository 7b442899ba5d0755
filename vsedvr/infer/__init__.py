"""Inference: windows of frames, and the engine that restores them."""

from vsedvr.infer.device import PRECISIONS, choose_device, choose_precision
from vsedvr.infer.engine import Engine
from vsedvr.infer.scene import is_cut, within_scene
from vsedvr.infer.window import PADDINGS, published_padding, window_indices

__all__ = [
    "PADDINGS",
    "PRECISIONS",
    "Engine",
    "choose_device",
    "choose_precision",
    "is_cut",
    "published_padding",
    "window_indices",
    "within_scene",
]
