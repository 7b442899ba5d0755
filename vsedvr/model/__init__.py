"""The EDVR network: its layers and its configuration."""

from vsedvr.model.edvr import EDVR, EDVRConfig
from vsedvr.model.pcd import FrameFeatures

__all__ = ["EDVR", "EDVRConfig", "FrameFeatures"]
