"""Inference: windows of frames, and the engine that restores them."""

from vsedvr.infer.build import build_engine
from vsedvr.infer.device import PRECISIONS, choose_device, choose_precision
from vsedvr.infer.engine import Engine
from vsedvr.infer.memory import choose_tiling, feature_bytes, free_bytes, working_bytes
from vsedvr.infer.scene import is_cut, within_scene
from vsedvr.infer.tile import Tiling, check_tile, default_tile_pad, receptive_radius
from vsedvr.infer.window import PADDINGS, published_padding, window_indices

__all__ = [
    "PADDINGS",
    "PRECISIONS",
    "Engine",
    "Tiling",
    "build_engine",
    "check_tile",
    "choose_device",
    "choose_precision",
    "choose_tiling",
    "default_tile_pad",
    "feature_bytes",
    "free_bytes",
    "is_cut",
    "published_padding",
    "receptive_radius",
    "window_indices",
    "within_scene",
    "working_bytes",
]
