"""A file into a file: a film is restored in segments, so that no interruption loses more than one, and joined."""

import sys
from types import ModuleType
from typing import Any

from vsedvr.restore.run import Status, restore

__all__ = ["Status", "restore"]


class _CallableModule(ModuleType):
    """Python puts a package into its parent under its own name, so `vsedvr.restore` is this package: let it be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        restore(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
