"""Loads EDVR checkpoints of every published format, and the models inside the package."""

from vsedvr.weights.error import CheckpointError
from vsedvr.weights.load import EMBEDDED, load_model

__all__ = ["EMBEDDED", "CheckpointError", "load_model"]
