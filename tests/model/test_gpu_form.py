"""The network as it runs on a GPU: how many kernels a frame takes, counted without one; what they compute, on a CPU."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tensors_on_gpu import moved
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import TINY, random_model
from cuda_runner import Runner, build
from vsedvr.infer.beyond import add_beyond
from vsedvr.infer.network import Network
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.model.pcd import SplitConv
from vsedvr.ops import cuda, native
from vsedvr.ops.bias_act import bias_act_cuda, bias_act_shuffle_cuda

LAST = torch.channels_last
X4 = EDVRConfig(3, 3, 16, 5, 2, 1, 1, num_tail_feat=8)
X1 = EDVRConfig(3, 3, 8, 3, 2, 1, 1, with_predeblur=True, scale=1, num_tail_feat=8)
X2 = EDVRConfig(3, 3, 8, 3, 2, 1, 1, with_tsa=False, scale=2, num_tail_feat=8)

VIEWS = "alias as_strided detach device expand permute select slice split unbind unsqueeze view"
NO_KERNEL = {*VIEWS.split(), "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
"""Operators that compute nothing: views, and tensors without content."""


class Kernels(TorchDispatchMode):
    """Counts the kernels that PyTorch launches on a GPU, by name.

    A convolution is one for the product, one for the bias, and one for each operand that cuDNN needs in another layout.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if name not in NO_KERNEL:
            self.count[name] += 1
        if name == "convolution":
            x, weight, bias = args[:3]
            self.count["bias of a convolution"] += bias is not None
            self.count["another layout"] += sum(not operand.is_contiguous(memory_format=LAST) for operand in (x, weight))
        return func(*args, **(kwargs or {}))


def kernels_of_a_frame(height: int, width: int, rows: int | None = None, at_once: bool = True) -> Counter[str]:
    """Those of the next frame of a clip that plays, with EDVR-M in float16; the engine's check and clamping included."""
    model = Network(EDVR(), "cpu", torch.float16).model
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model = moved(model)
        lq = torch.empty(1, 3, height, width, dtype=torch.float16, device="cuda").contiguous(memory_format=LAST)
        frames = [model.extract(lq) for _ in range(4)]
        with Kernels() as kernels:
            frames.append(model.extract(lq))
            ref = frames[2]
            aligned = model.align_all(frames, ref) if at_once else [model.align(frame, ref) for frame in frames]
            restored = model.reconstruct(model.fuse(aligned), lq, rows)
            torch.stack(restored.aminmax()).isfinite().all()
            restored.float().clamp(0, 1).contiguous()
    return kernels.count


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda device: True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("height", "width", "at_most"), [(180, 320, 220), (540, 960, 230)])
def test_a_frame_takes_few_kernels(height: int, width: int, at_most: int) -> None:
    """622 and 877 by PyTorch's operators, each neighbour alone, in strips of 24 rows."""
    count = kernels_of_a_frame(height, width)
    assert count.total() <= at_most, count
    assert not count["bias of a convolution"]
    assert not count["another layout"], "weights are in cuDNN's layout once for all; so are all features"


def test_values_outside_of_the_range_take_a_few_more() -> None:
    with FakeTensorMode(), torch.no_grad(), Kernels() as kernels:
        restored = torch.empty(3, 720, 1280, dtype=torch.float16, device="cuda")
        add_beyond(restored, torch.empty(3, 180, 320, device="cuda")).half()
    assert kernels.count.total() == 6, kernels.count


@pytest.mark.usefixtures("kernels")
def test_less_memory_takes_more_kernels() -> None:
    least = kernels_of_a_frame(180, 320).total()
    in_turn = kernels_of_a_frame(180, 320, at_once=False).total()
    in_strips = kernels_of_a_frame(180, 320, rows=90).total()
    assert least < in_strips < in_turn
    assert in_strips - least <= 12, "one more strip is four convolutions, what follows them, and the strips joined"


def test_without_the_kernels_pytorchs_operators_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda device: False)
    count = kernels_of_a_frame(180, 320, rows=24, at_once=False)
    assert not any(name.startswith("bias_act") for name in count)
    assert count.total() > 550


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return build(tmp_path_factory.mktemp("gpu_form"), ["bias_act_float32", "bias_act_shuffle_float32"])


@contextmanager
def fused(runner: Runner) -> Iterator[None]:
    """Inside, packed networks on the CPU run as on a GPU, with the kernels for GPUs."""
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(native, "is_available", lambda: False)
        patch.setattr(cuda, "launch", runner.launch)
        for name, function in (("bias_act_", bias_act_cuda), ("bias_act_shuffle", bias_act_shuffle_cuda)):
            patch.setattr(torch.ops.vsedvr, name, function, raising=False)
        for room in ("model.blocks", "model.pcd"):
            patch.setattr(f"vsedvr.{room}.runs_bias_act", lambda x: True)
        yield


@pytest.mark.parametrize("config", [X4, X1, X2, TINY], ids=["x4", "x1", "x2", "tiny"])
@pytest.mark.parametrize("rows", [None, 3])
def test_with_the_kernels_it_gives_the_same(runner: Runner, config: EDVRConfig, rows: int | None) -> None:
    model = random_model(config).to(memory_format=LAST)
    size = 2 * config.size_multiple
    lq = torch.rand(2, config.num_frame, 3, size, size + config.size_multiple)
    with torch.no_grad():
        expected = model(lq)
    with fused(runner):
        model.pack()
        assert all(module.packed is None for module in model.modules() if isinstance(module, SplitConv))
        before = len(runner.launched)
        frames = [model.extract(frame) for frame in lq.unbind(1)]
        aligned = model.align_all(frames, frames[config.center])
        restored = model.reconstruct(model.fuse(aligned), lq[:, config.center], rows)
    assert len(runner.launched) - before > 40
    assert (restored - expected).abs().max() < 1e-5


WIDE = EDVRConfig(3, 3, 32, 7, 4, 1, 1, num_tail_feat=16)


@pytest.mark.parametrize(("config", "bits"), [(X4, True), (WIDE, True), (X1, False), (X2, False)])
@pytest.mark.parametrize("batch", [1, 2])
def test_all_neighbours_at_once_are_what_each_is_alone(config: EDVRConfig, bits: bool, batch: int) -> None:
    """Bit for bit by our own kernels; PyTorch's, for few channels, choose their algorithm by the size of the batch."""
    model = random_model(config).to(memory_format=LAST)
    model.pack()
    size = 3 * config.size_multiple
    lq = torch.rand(batch, config.num_frame, 3, size, 2 * size)
    with torch.inference_mode():
        frames = [model.extract(frame) for frame in lq.unbind(1)]
        for ref in (frames[config.center], frames[0]):
            one_by_one = [model.align(frame, ref) for frame in frames]
            at_once = model.align_all(frames, ref)
            assert len(at_once) == len(frames)
            for a, b in zip(at_once, one_by_one, strict=True):
                assert (a - b).abs().max() < 1e-5
                assert torch.equal(a, b) or not (bits and native.is_available())
