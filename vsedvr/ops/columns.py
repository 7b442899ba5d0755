"""Backward pass of the deformable convolution, as far as it consists of matrix products, for CPU and GPU kernels alike.

The forward pass multiplies samples (columns, as in im2col) by the weight. So the gradient of the samples is the gradient of the
output times the weight, and the gradient of the weight is the gradient of the output times the samples. A kernel does the rest:
it samples again and turns the samples' gradients into those of x and the offsets.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["backward_in_parts"]

COLUMN_BYTES = 64 << 20
"""Maximum size in bytes of the samples that are kept at a time; their gradients take as much again."""


def backward_in_parts(grad: Tensor, weight: Tensor, unit: int, run: Callable[[int, Tensor, Tensor], None]) -> Tensor:
    """Runs a kernel on the pixels part by part, and returns the gradient of the weight.

    Args:
        grad: gradient of the output before the LeakyReLU, (b, out_channels, h, w), channels_last.
        weight: (out_channels, c, kernel, kernel) in the type of grad.
        unit: number of pixels that must stay in one part, such as those of a picture.
        run: function that calls the kernel for a part. It gets the number of the part's first pixel in the batch, the gradient
            of its samples (pixels, taps * c), and an empty tensor of the same shape, which the kernel fills with the samples.

    Returns:
        Gradient of the weight, (out_channels, c, kernel, kernel) in float32.
    """
    out_channels, c, kernel, _ = weight.shape
    rows = grad.permute(0, 2, 3, 1).reshape(-1, out_channels)
    matrix = weight.permute(0, 2, 3, 1).reshape(out_channels, kernel * kernel * c)
    grad_matrix = torch.zeros_like(matrix, dtype=torch.float32)
    unit = max(1, unit)
    pixels = unit * max(1, COLUMN_BYTES // max(1, matrix.element_size() * matrix.shape[1] * unit))
    with torch.autocast(grad.device.type, enabled=False):  # it would change the type of the products
        for first in range(0, len(rows), pixels):
            part = rows[first : first + pixels]
            grad_columns = part @ matrix
            columns = torch.empty_like(grad_columns)
            run(first, grad_columns, columns)
            grad_matrix += part.mT @ columns
    return grad_matrix.view(out_channels, kernel, kernel, c).permute(0, 3, 1, 2)
