"""What a room of the package finds out about itself, for `vsedvr check` and for messages. Ground floor: imports nothing."""

import json
from dataclasses import dataclass
from importlib import metadata

__all__ = ["Finding", "reinstall_line"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, such as CuPy."""

    name: str
    """What was looked at."""
    text: str
    """How it stands."""
    advice: str = ""
    """The line that mends or improves it, such as a command; empty where there is nothing to do."""
    broken: bool = False
    """Whether it is installed and does not work. What is only missing is not broken."""


def reinstall_line() -> str:
    """The command that installs this package again, from where it came from."""
    try:
        source = json.loads(metadata.distribution("vsedvr").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # a source tree that is used without being installed
        source = {}
    editable = "--editable " if source.get("dir_info", {}).get("editable") else ""
    return f"pip install --force-reinstall --no-deps --no-cache-dir {editable}{source.get('url', 'vsedvr')}"
