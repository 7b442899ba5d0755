"""1x1 and strided convolutions of networks that only run, on a CPU in float32, and what EDVR's fusion has around them.

The result does not depend on the number of threads, which that of PyTorch's convolutions does, by rounding.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from vsedvr.ops import native
from vsedvr.ops.arena import empty_picture

__all__ = ["PackedConv", "pack_conv", "similarity"]

FLOAT = torch.float32


def pack_conv(weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> "PackedConv | None":
    """The packed form of a convolution, or None without our kernels.

    Args:
        weight, bias, stride: as for PackedConv. Weights on another device or in another type than float32 give None.
    """
    served = native.is_available() and weight.device.type == "cpu" and weight.dtype == FLOAT
    return PackedConv(weight, bias, stride) if served else None


class PackedConv:
    """A convolution with padding kernel // 2 whose weights lie as the kernel reads them (kernels/conv_direct.cpp).

    It has a copy of its own of the weights, and no gradients.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, stride: int = 1, isa: int | None = None) -> None:
        """
        Args:
            weight: (out_channels, c, kernel, kernel) with an odd kernel, on a CPU, converted to float32.
            bias: (out_channels,) or None.
            stride: pixels of the input from one output pixel to the next, at least 1.
            isa: instruction set, as native.best_isa gives it; the best by default.

        Raises:
            ValueError: if weight and bias do not belong together, the kernel is even or the stride is not positive.
            RuntimeError: if the package was built without the kernels (native.is_available).
        """
        self.out_channels, self.channels, self.kernel = weight.shape[:3]
        if self.kernel % 2 == 0 or stride < 1:
            raise ValueError(f"the kernel must be odd and the stride positive, got {self.kernel} and {stride}")
        self.stride = stride
        _, self.isa = native.settings(isa)
        weight = weight.detach().to(FLOAT).contiguous()
        bias = None if bias is None else bias.detach().to(FLOAT).contiguous()
        shape = self.out_channels, self.channels, self.kernel, self.kernel
        count = native.direct_floats(self.kernel**2 * self.channels, self.out_channels, self.isa)
        self.packed = torch.empty(count, dtype=FLOAT, device="cpu")
        addresses = (
            native.address("weight", weight, shape, FLOAT, torch.contiguous_format),
            None if bias is None else native.address("bias", bias, (self.out_channels,), FLOAT, torch.contiguous_format),
            native.address("packed", self.packed, (count,), FLOAT, torch.contiguous_format),
        )
        native.call(native.DIRECT_PACK, self.channels, self.out_channels, self.kernel, *addresses, self.isa)

    def serves(self, x: Tensor) -> bool:
        """Whether the kernel takes this input: on a CPU, in float32, and no gradients are wanted."""
        return native.serves(x)

    def __call__(
        self,
        *inputs: Tensor,
        slope: float = 1,
        scales: Sequence[Tensor] = (),
        modulate: tuple[Tensor, Tensor] | None = None,
        parts: int = 1,
    ) -> Tensor:
        """leaky_relu(conv2d(cat(inputs * scales, 1), weight, bias), slope), within rounding.

        Args:
            inputs: one or more of the same shape (b, c, h, w), in float32 on a CPU, that are joined along their channels.
            slope: negative slope of the LeakyReLU; 0 is a ReLU, 1 is none.
            scales: (b, 1, h, w) for each of the inputs, or nothing.
            modulate: a map and logits in the shape of the output: 2 * map * sigmoid(logits) is added, and `slope` is not used.
            parts: into how many pictures the output channels are split.

        Returns:
            (b, out_channels, h / stride, w / stride), sizes rounded up, channels_last. With several parts
            (parts * b, out_channels / parts, ...): picture after picture.

        Raises:
            ValueError: if tensors do not belong together, or are not what the kernel takes.
            MemoryError: if there is no memory for the kernel's buffers.
        """
        b, c, h, w = inputs[0].shape
        if c * len(inputs) != self.channels:
            raise ValueError(f"the weights are for {self.channels} channels, got {len(inputs)} inputs of {c}")
        if self.out_channels % parts or (modulate and parts > 1):
            raise ValueError(f"{self.out_channels} channels cannot be split into {parts} parts, nor split ones be modulated")
        if scales and len(scales) != len(inputs):
            raise ValueError(f"each input needs a scale, or none does, got {len(inputs)} inputs and {len(scales)} scales")
        height, width = ((size - 1) // self.stride + 1 for size in (h, w))
        out = empty_picture((parts * b, self.out_channels // parts, height, width), FLOAT)
        pictures = [x.contiguous(memory_format=native.PICTURE) for x in inputs]
        scales = [scale.contiguous() for scale in scales]
        maps = [x.contiguous(memory_format=native.PICTURE) for x in modulate or ()]
        x = [native.address("input", picture, (b, c, h, w), FLOAT, native.PICTURE) for picture in pictures]
        factors = [native.address("scale", scale, (b, 1, h, w), FLOAT, torch.contiguous_format) for scale in scales]
        modulated = [native.address("modulate", map, tuple(out.shape), FLOAT, native.PICTURE) for map in maps]
        shape = (ctypes.c_int64 * 9)(b, h, w, c, len(inputs), self.out_channels, parts, self.kernel, self.stride)
        threads, _ = native.settings(self.isa)
        native.call(
            native.DIRECT,
            ctypes.addressof(shape),
            (ctypes.c_void_p * len(x))(*x),
            (ctypes.c_void_p * len(x))(*factors) if factors else None,
            self.packed.data_ptr(),
            *(modulated or (None, None)),
            out.data_ptr(),
            slope,
            threads,
            self.isa,
        )
        return out


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """sigmoid((a * b).sum(1, keepdim=True)) of two maps (b, c, h, w) in float32 on a CPU; returns (b, 1, h, w).

    Raises:
        ValueError: if the maps are not of one shape, or not what the kernel takes.
    """
    pictures = [x.contiguous(memory_format=native.PICTURE) for x in (a, b)]
    addresses = [native.address("map", x, tuple(a.shape), FLOAT, native.PICTURE) for x in pictures]
    number, channels, height, width = a.shape
    out = torch.empty((number, 1, height, width), dtype=FLOAT, device="cpu")
    native.call(native.SIMILARITY, number * height * width, channels, *addresses, out.data_ptr(), *native.settings(None))
    return out
