"""The error that is raised for every file that cannot be used as an EDVR checkpoint."""

__all__ = ["CheckpointError"]


class CheckpointError(ValueError):
    """Error for a file that cannot be loaded as an EDVR checkpoint. Its message says why, and what to do."""
