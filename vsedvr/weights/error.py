"""The error for every file that is no usable EDVR checkpoint."""

__all__ = ["CheckpointError"]


class CheckpointError(ValueError):
    """A file that cannot be loaded as an EDVR checkpoint. The message says why and what to do."""
