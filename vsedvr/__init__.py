"""EDVR video restoration for VapourSynth.

A script needs `import vsedvr` and `clip = vsedvr.edvr(clip)`. Names are loaded when they are first used, so that the network
can be used without VapourSynth, and importing vsedvr changes nothing in the process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsedvr.filter import edvr
    from vsedvr.model import EDVR, EDVRConfig
    from vsedvr.restore import restore
    from vsedvr.weights import load_model

__version__ = "0.1.0"
__all__ = ["EDVR", "EDVRConfig", "__version__", "edvr", "load_model", "restore"]

_HOMES = {
    "edvr": "vsedvr.filter",
    "EDVR": "vsedvr.model",
    "EDVRConfig": "vsedvr.model",
    "load_model": "vsedvr.weights",
    "restore": "vsedvr.restore",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vsedvr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
