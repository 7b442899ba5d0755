"""Loads EDVR checkpoints of every published format, and finds models by name: embedded and published ones."""

from vsedvr.weights.error import CheckpointError
from vsedvr.weights.load import load_model
from vsedvr.weights.lookup import find_model
from vsedvr.weights.zoo import EMBEDDED, ZOO, known_padding

__all__ = ["EMBEDDED", "ZOO", "CheckpointError", "find_model", "known_padding", "load_model"]
