"""Finding for `vsedvr check`: whether the files of the embedded models are the released ones."""

import hashlib
from pathlib import Path

from vsedvr.finding import Finding, reinstall_line
from vsedvr.weights.zoo import EMBEDDED, embedded_file

__all__ = ["embedded_models", "released_hashes"]


def released_hashes() -> dict[str, str]:
    """Reads the SHA-256 of every embedded model, by its name, from SHA256SUMS, a file that sha256sum wrote."""
    lines = (line.split() for line in embedded_file("small").with_name("SHA256SUMS").read_text().splitlines())
    return {Path(file).stem: sha256 for sha256, file in lines}


def embedded_models() -> Finding:
    """Compares the files of the embedded models with the hashes of the released files."""
    name = "embedded models"
    try:
        released = released_hashes()
        wrong = [f"{model} {problem}" for model in EMBEDDED if (problem := _problem(embedded_file(model), released[model]))]
    except (OSError, KeyError, ValueError) as error:
        wrong = [f"their hashes cannot be read ({error})"]
    if wrong:
        return Finding(name, ", ".join(wrong), reinstall_line(), broken=True)
    return Finding(name, f"{', '.join(EMBEDDED)}: whole, by their SHA-256")


def _problem(file: Path, released: str) -> str:
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if found == released else "is damaged or was changed"
