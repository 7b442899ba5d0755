"""Inference: the engine that restores frames with an EDVR, and the choice of its device, precision, tiles and windows."""

from vsedvr.infer.build import build_engine, check_tile, clip_windows, memory_budget, published_padding, share_memory
from vsedvr.infer.device import PRECISIONS, choose_device, choose_precision
from vsedvr.infer.engine import Engine
from vsedvr.infer.ensemble import ENSEMBLES, check_ensemble
from vsedvr.infer.kernels import lacks_kernels
from vsedvr.infer.memory import choose_tiling, feature_bytes, free_bytes, working_bytes
from vsedvr.infer.stages import build_stages, check_second_stage, in_stages
from vsedvr.infer.tile import Tiling, default_tile_pad, receptive_radius

__all__ = [
    "ENSEMBLES",
    "PRECISIONS",
    "Engine",
    "Tiling",
    "build_engine",
    "build_stages",
    "check_ensemble",
    "check_second_stage",
    "check_tile",
    "choose_device",
    "choose_precision",
    "choose_tiling",
    "clip_windows",
    "default_tile_pad",
    "feature_bytes",
    "free_bytes",
    "in_stages",
    "lacks_kernels",
    "memory_budget",
    "published_padding",
    "receptive_radius",
    "share_memory",
    "working_bytes",
]
