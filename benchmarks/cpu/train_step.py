"""One training step of the preset `small` on a CPU: with the compiled kernels, and with torch's own operators in their place.

Compares the gradients of both first, then times forward and backward pass turn by turn. Prints the table in train_step.md.
"""

from unittest import mock

import torch
from torch import Tensor

from benchmarks.timing import medians, processor
from vsedvr.model import EDVR
from vsedvr.ops import native
from vsedvr.train.loss import charbonnier
from vsedvr.train.preset import read_preset

TIMES = 7
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""Of the gradient's norm; in bf16 about what rounding makes of it in either form."""


def main() -> None:
    preset = read_preset("small")
    torch.manual_seed(0)
    model = EDVR(preset.network).to(memory_format=torch.channels_last)
    size = preset.data.patch // preset.network.scale
    lq = torch.rand(preset.train.batch, preset.network.num_frame, 3, size, size)
    gt = torch.rand(preset.train.batch, 3, preset.data.patch, preset.data.patch)

    print(f"{processor()}; torch {torch.__version__}; medians of {TIMES}; batch {len(lq)} of {size}x{size}\n")
    print("| precision | torch's operators | kernels | ratio |\n|---|---|---|---|")
    for precision in TOLERANCE:

        def kernels(precision: str = precision) -> Tensor:
            return step(model, lq, gt, precision)

        def composed(precision: str = precision) -> Tensor:
            with mock.patch.object(native, "is_available", return_value=False):
                return step(model, lq, gt, precision)

        difference = float((kernels() - composed()).norm() / composed().norm())
        if not difference < TOLERANCE[precision]:
            raise SystemExit(f"{precision}: the gradients differ by {difference:.3g} of their norm")
        seconds = medians({"composed": composed, "kernels": kernels}, TIMES)
        ratio = seconds["composed"] / seconds["kernels"]
        print(f"| {precision} | {seconds['composed']:.3f} s | {seconds['kernels']:.3f} s | {ratio:.2f}x |", flush=True)


def step(model: EDVR, lq: Tensor, gt: Tensor, precision: str) -> Tensor:
    """All gradients in one vector."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        restored = model(lq)
    charbonnier(restored, gt).backward()  # type: ignore[no-untyped-call]
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


if __name__ == "__main__":
    main()
