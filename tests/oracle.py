"""Location of the oracle data, and functions that read it (tests/data/README.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"


def array(case: str, name: str) -> Tensor:
    return torch.from_numpy(np.load(DATA / case / f"{name}.npy"))


def meta(case: str) -> dict[str, Any]:
    return translated(json.loads((DATA / case / "meta.json").read_text()))


def translated(content: Any) -> Any:
    """The content of a case with BasicSR's hr_in, at any depth, as the scale that it stands for."""
    if isinstance(content, list):
        return [translated(value) for value in content]
    if not isinstance(content, dict):
        return content
    return {
        "scale" if key == "hr_in" else key: (1 if value else 4) if key == "hr_in" else translated(value)
        for key, value in content.items()
    }


def weights(case: str, stem: str = "weights") -> Path:
    (path,) = (DATA / case).glob(f"{stem}*.[ps]*")
    return path
