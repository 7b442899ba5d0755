"""3x3 convolutions for inference on a CPU in float32: packed weights, and neighbouring operations fused in one pass."""

import ctypes

import torch
from torch import Tensor

from vsedvr.ops import native
from vsedvr.ops.arena import empty_picture

__all__ = ["PackedConv3x3", "pack_conv3x3"]

FLOAT = torch.float32

MIN_CHANNELS = 16
"""Number of input channels below which PyTorch is faster. With 3 input and 64 output channels PyTorch takes a third of the
kernel's time, with 32 and 32 it takes longer."""


def pack_conv3x3(weight: Tensor, bias: Tensor | None = None, shuffle: bool = False) -> "PackedConv3x3 | None":
    """Packs a convolution's weights; None if PyTorch is faster (few input channels) or there are no CPU kernels.

    Args:
        weight: as for PackedConv3x3. A weight on another device or in another type than float32 gives None.
        bias: as for PackedConv3x3.
        shuffle: as for PackedConv3x3.
    """
    served = native.is_available() and weight.device.type == "cpu" and weight.dtype == FLOAT
    return PackedConv3x3(weight, bias, shuffle) if served and weight.shape[1] >= MIN_CHANNELS else None


class PackedConv3x3:
    """A 3x3 convolution with stride 1 and padding 1 whose weights were transformed for the kernel (kernels/conv3x3.cpp).

    It keeps a copy of the weights of four times their size, and has no gradients.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, shuffle: bool = False, isa: int | None = None) -> None:
        """
        Args:
            weight: (out_channels, c, 3, 3) on a CPU; converted to float32.
            bias: (out_channels,) or None.
            shuffle: whether F.pixel_shuffle by 2 follows the convolution; then out_channels must be a multiple of 4.
            isa: instruction set, as native.best_isa numbers them; the best by default.

        Raises:
            ValueError: if weight and bias do not match, or out_channels cannot be shuffled.
            RuntimeError: if the package was built without the kernels (native.is_available).
        """
        self.out_channels, self.channels = weight.shape[:2]
        self.shuffle = shuffle
        threads, self.isa = native.settings(isa)
        if shuffle and self.out_channels % 4:
            raise ValueError(f"with shuffle the number of output channels must be a multiple of 4, got {self.out_channels}")
        weight = weight.detach().to(FLOAT).contiguous()
        bias = None if bias is None else bias.detach().to(FLOAT).contiguous()
        count = native.packed_floats(self.channels, self.out_channels, shuffle, self.isa)
        self.packed = torch.empty(count, dtype=FLOAT, device="cpu")
        addresses = (
            native.address("weight", weight, (self.out_channels, self.channels, 3, 3), FLOAT, torch.contiguous_format),
            None if bias is None else native.address("bias", bias, (self.out_channels,), FLOAT, torch.contiguous_format),
            native.address("packed", self.packed, (count,), FLOAT, torch.contiguous_format),
        )
        native.call(native.PACK, self.channels, self.out_channels, shuffle, *addresses, threads, self.isa)

    def serves(self, x: Tensor) -> bool:
        """Tells whether the kernel takes this input: on a CPU, in float32, and without gradients."""
        return x.device.type == "cpu" and x.dtype == FLOAT and not torch.is_grad_enabled()

    def __call__(
        self,
        x: Tensor,
        slope: float = 1,
        add: Tensor | None = None,
        x2: Tensor | None = None,
        rows: tuple[int, int] | None = None,
        enlarge: float = 0,
    ) -> Tensor:
        """Computes leaky_relu(pixel_shuffle(conv2d(cat([x, x2], 1), weight, bias, padding=1), 2) + add, slope).

        It is exact within rounding. Without `shuffle` the pixel_shuffle is left out. An output depends only on its position in
        the picture and its surroundings, not on the number of threads or on other calls.

        Args:
            x: (b, c, h, w) in float32 on a CPU.
            slope: negative slope of the LeakyReLU; 0 for a ReLU, 1 for none.
            add: tensor of the output's shape, which is added before the LeakyReLU, or None.
            x2: (b, c2, h, w), read as further channels after those of x, or None.
            rows: (first, number) of the convolution's rows that are computed; by default all h rows.
            enlarge: if it is not 0, x2 is (b, c2, h / 2, w / 2). It is enlarged bilinearly to the size of x, and multiplied by
                this number.

        Returns:
            (b, out_channels, number, w) or, with shuffle, (b, out_channels / 4, 2 * number, 2 * w), channels_last.

        Raises:
            ValueError: if tensors do not match, or are not of a kind that the kernel takes.
            MemoryError: if there is no memory for the kernel's buffers.
        """
        if x.ndim != 4:
            raise ValueError(f"x must have the shape (b, c, h, w), got {tuple(x.shape)}")
        b, c, h, w = x.shape
        c2 = self.channels - c if x2 is not None else 0
        if c + c2 != self.channels or c < 1 or (x2 is not None and c2 < 1):
            raise ValueError(f"the weights are for {self.channels} channels, got x of {c}" + ("" if x2 is None else " and x2"))
        if enlarge and (h % 2 or w % 2):
            raise ValueError(f"x2 is enlarged by 2, so the height and width of x must be even, got {h} and {w}")
        height2, width2 = (h // 2, w // 2) if enlarge else (h, w)
        first, number = (0, h) if rows is None else rows
        if not 0 <= first <= first + number <= h:
            raise ValueError(f"rows must lie within the {h} rows of x, got {number} from row {first}")
        scale, out_channels = (2, self.out_channels // 4) if self.shuffle else (1, self.out_channels)
        out = empty_picture((b, out_channels, scale * number, scale * w), FLOAT)
        x = x.contiguous(memory_format=native.PICTURE)
        x2, add = (None if t is None else t.contiguous(memory_format=native.PICTURE) for t in (x2, add))
        addresses = (
            native.address("x", x, (b, c, h, w), FLOAT, native.PICTURE),
            None if x2 is None else native.address("x2", x2, (b, c2, height2, width2), FLOAT, native.PICTURE),
            self.packed.data_ptr(),
            None if add is None else native.address("add", add, tuple(out.shape), FLOAT, native.PICTURE),
            out.data_ptr(),
        )
        shape = (ctypes.c_int64 * 9)(b, h, w, c, c2, self.out_channels, self.shuffle, first, number)
        threads, _ = native.settings(self.isa)
        native.call(native.PACKED, ctypes.addressof(shape), *addresses, enlarge, slope, threads, self.isa)
        return out
