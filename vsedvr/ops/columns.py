"""The backward pass of the deformable convolution as far as it is matrix products, for the kernels of CPUs and GPUs alike.

The forward pass is a product of the samples (columns, as in im2col) and the weight. So the gradient of the samples is that of
the output times the weight, and the gradient of the weight that of the output times the samples. A kernel does the rest: it
takes the samples again and turns their gradients into those of x and the offsets.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["backward_in_parts"]

COLUMN_BYTES = 64 << 20
"""Bytes of the samples that are kept at a time; their gradients take as many again."""


def backward_in_parts(grad: Tensor, weight: Tensor, unit: int, run: Callable[[int, Tensor, Tensor], None]) -> Tensor:
    """Runs a kernel on one part of the pixels after the other, and returns the gradient of the weight.

    Args:
        grad: gradient of the output before the LeakyReLU, (b, out_channels, h, w), channels_last.
        weight: (out_channels, c, kernel, kernel) in the type of grad.
        unit: number of pixels that stay together, such as those of a picture.
        run: calls the kernel for a part, with the number of its first pixel in the batch, the gradient of its samples
            (pixels, taps * c), and an empty tensor like it that the kernel fills with the samples.

    Returns:
        (out_channels, c, kernel, kernel) in float32.
    """
    out_channels, c, kernel, _ = weight.shape
    rows = grad.permute(0, 2, 3, 1).reshape(-1, out_channels)
    matrix = weight.permute(0, 2, 3, 1).reshape(out_channels, kernel * kernel * c)
    grad_matrix = torch.zeros_like(matrix, dtype=torch.float32)
    unit = max(1, unit)
    pixels = unit * max(1, COLUMN_BYTES // max(1, matrix.element_size() * matrix.shape[1] * unit))
    with torch.autocast(grad.device.type, enabled=False):  # or the products come out in another type
        for first in range(0, len(rows), pixels):
            part = rows[first : first + pixels]
            grad_columns = part @ matrix
            columns = torch.empty_like(grad_columns)
            run(first, grad_columns, columns)
            grad_matrix += part.mT @ columns
    return grad_matrix.view(out_channels, kernel, kernel, c).permute(0, 3, 1, 2)
