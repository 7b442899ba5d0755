"""Where the oracle data lies and how to read it (tests/data/README.md)."""

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
    content: dict[str, Any] = json.loads((DATA / case / "meta.json").read_text())
    return content


def weights(case: str, stem: str = "weights") -> Path:
    (path,) = (DATA / case).glob(f"{stem}*.[ps]*")
    return path
