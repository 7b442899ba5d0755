"""Measures a training step of the preset `small` on a CPU: with the compiled kernels, and with torch's own operators.

    python -m benchmarks.cpu.train_step

The gradients of both are compared first; then forward and backward pass are timed in turn. Prints the table in train_step.md.
"""

from unittest import mock

import torch
from torch import Tensor

from benchmarks.timing import medians
from vsedvr.evaluation.table import markdown_row, markdown_table
from vsedvr.model import EDVR
from vsedvr.ops import native
from vsedvr.ops.findings import processor
from vsedvr.train.loss import charbonnier
from vsedvr.train.preset import read_preset

TIMES = 7
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""Largest difference of the gradients relative to their norm; in bf16 about what rounding causes in either form."""


def main() -> None:
    if not native.is_available():
        raise SystemExit("the kernels are not compiled here (see README.md, Install), so there is nothing to compare")
    preset = read_preset("small")
    torch.manual_seed(0)
    model = EDVR(preset.network).to(memory_format=torch.channels_last)
    size = preset.data.patch // preset.network.scale
    lq = torch.rand(preset.train.batch, preset.network.num_frame, 3, size, size)
    gt = torch.rand(preset.train.batch, 3, preset.data.patch, preset.data.patch)

    print(f"{processor()}; torch {torch.__version__}; medians of {TIMES}; batch {len(lq)} of {size}x{size}\n")
    print(markdown_table([["precision", "torch's operators", "kernels", "ratio"]]), flush=True)
    for precision in TOLERANCE:
        composed, kernels = compare(model, lq, gt, precision)
        print(markdown_row([precision, f"{composed:.3f} s", f"{kernels:.3f} s", f"{composed / kernels:.2f}x"]), flush=True)


def compare(model: EDVR, lq: Tensor, gt: Tensor, precision: str, times: int = TIMES) -> tuple[float, float]:
    """Returns the seconds of a step with torch's operators and with the kernels, after comparing their gradients."""

    def kernels() -> Tensor:
        return gradients(model, lq, gt, precision)

    def composed() -> Tensor:
        with mock.patch.object(native, "is_available", return_value=False):
            return gradients(model, lq, gt, precision)

    exact = composed()
    difference = float((kernels() - exact).norm() / exact.norm())
    if not difference < TOLERANCE[precision]:
        raise SystemExit(f"{precision}: the gradients differ by {difference:.3g} of their norm; nothing is timed")
    seconds = medians({"composed": composed, "kernels": kernels}, times)
    return seconds["composed"], seconds["kernels"]


def gradients(model: EDVR, lq: Tensor, gt: Tensor, precision: str) -> Tensor:
    """Runs one step, forward and backward, in fp32 or bf16; returns the gradients of all parameters as one vector."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        restored = model(lq)
    charbonnier(restored, gt).backward()  # type: ignore[no-untyped-call]
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


if __name__ == "__main__":
    main()
