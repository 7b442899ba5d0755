"""Restores a video file, in segments, so that an interruption loses at most one segment, and joins them into a file."""

import sys
from types import ModuleType
from typing import Any

from vsedvr.restore.run import Status, restore

__all__ = ["Status", "restore"]


class _CallableModule(ModuleType):
    """A package that can be called: Python binds `vsedvr.restore` to this package, so that `vsedvr.restore(...)` works too."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        restore(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
