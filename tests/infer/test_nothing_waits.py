"""What restoring a picture launches on a GPU, seen with tensors that have no content."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tensors_on_gpu import GPU, moved, on_a_gpu
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vsedvr.infer import Tiling
from vsedvr.infer.beyond import add_beyond
from vsedvr.infer.ensemble import transforms
from vsedvr.infer.memory import SMALL_STEPS, Steps
from vsedvr.infer.network import Network
from vsedvr.infer.phases import Phases
from vsedvr.infer.picture import restore_picture
from vsedvr.infer.workspace import Workspace
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import cuda

X4 = EDVRConfig(3, 3, 16, 5, 2, 1, 1, num_tail_feat=8)
X1 = EDVRConfig(3, 3, 16, 5, 2, 1, 1, with_predeblur=True, with_tsa=False, scale=1, num_tail_feat=8)

NUMBERS = "_local_scalar_dense equal is_nonzero item"
SIZES = "bincount masked_select multinomial nonzero repeat_interleave _unique2 unique_consecutive unique_dim"
WAIT = {*NUMBERS.split(), *SIZES.split()}
"""Operators with which PyTorch waits for a GPU, because a number or the size of their result is needed on the CPU."""


class NothingWaits(TorchDispatchMode):
    """Fails where the CPU would wait for the GPU: at numbers that come back, and at copies from one to the other.

    None of this can be in a CUDA graph either.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        assert name not in WAIT
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)}
        assert len(devices) <= 1, f"{name} on {devices}"
        self.number += devices == {"cuda"}
        return out


@pytest.mark.parametrize(
    ("config", "tile", "ensemble", "steps", "has_kernels"),
    [
        (X4, (0, 0), 1, Steps(None, True), True),
        (X4, (0, 0), 1, SMALL_STEPS, False),
        (X4, (72, 0), 1, SMALL_STEPS, True),
        (X4, (0, 0), 8, Steps(None, True), True),
        (X1, (72, 0), 1, Steps(None, True), False),
        (X1, (0, 0), 4, SMALL_STEPS, True),
    ],
)
def test_nothing_waits_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    config: EDVRConfig,
    tile: tuple[int, int],
    ensemble: int,
    steps: Steps,
    has_kernels: bool,
) -> None:
    """From the upload of the frames to the download of the result, with values outside of [0, 1] and rounding to halves."""
    monkeypatch.setattr(cuda, "is_available", lambda device: has_kernels)
    monkeypatch.setattr("vsedvr.infer.phases.computing", lambda device, dtype: nullcontext())
    monkeypatch.setattr("vsedvr.infer.phases.upload", on_a_gpu)
    monkeypatch.setattr("vsedvr.infer.tile.upload", on_a_gpu)
    model = Network(EDVR(config), "cpu", torch.float16).model
    tiling = Tiling(90, 130, tile, 8, config)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        phases = Phases(moved(model), GPU, torch.float16)
        workspace = Workspace(config, GPU, torch.float16, transforms(ensemble), 1, tiling, steps, 1 << 30)
        frame = torch.empty(3, 90, 130, device=GPU)
        with NothingWaits() as launched:
            picture, finite = restore_picture(phases, workspace, range(5), lambda i: frame)
            result = add_beyond(picture, frame).half()
    assert result.shape == (3, config.scale * 90, config.scale * 130)
    assert finite.shape == ()
    assert launched.number > 100 * ensemble * len(tiling.tiles)
