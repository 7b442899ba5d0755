"""The type of result that `vsedvr check` shows. Every part of the package may import it, so it imports none of them."""

import json
from dataclasses import dataclass
from importlib import metadata

__all__ = ["Finding", "reinstall_line"]


@dataclass(frozen=True)
class Finding:
    """Result of one check of the installation, such as that of CuPy."""

    name: str
    """Name of the thing that was checked, such as "CuPy"."""
    text: str
    """State of the thing, such as its version or what is wrong with it."""
    advice: str = ""
    """Advice that mends or improves it, such as a command; empty if there is nothing to do."""
    broken: bool = False
    """Whether it is installed but does not work. A thing that is only missing is not broken."""


def reinstall_line() -> str:
    """Command that installs this package again from the source it was installed from."""
    try:
        source = json.loads(metadata.distribution("vsedvr").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # a source tree that is used without being installed
        source = {}
    editable = "--editable " if source.get("dir_info", {}).get("editable") else ""
    return f"pip install --force-reinstall --no-deps --no-cache-dir {editable}{source.get('url', 'vsedvr')}"
