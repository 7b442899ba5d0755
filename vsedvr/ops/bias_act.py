"""What follows a convolution in the network, in one kernel on a GPU: bias, addition, LeakyReLU, pixel_shuffle.

The kernels are in kernels/bias_act.cu; the torch operators that run them are `vsedvr::bias_act_`, in place, and
`vsedvr::bias_act_shuffle`. Whatever goes to a kernel as an address is checked first.
"""

import torch
from torch import Tensor

from vsedvr.ops import cuda
from vsedvr.ops.checks import check

__all__ = ["bias_act", "runs_bias_act"]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAST = torch.channels_last


def runs_bias_act(x: Tensor) -> bool:
    """Whether `bias_act` takes what is computed from x: on a GPU with our kernels, without gradients, in one of DTYPES."""
    return x.is_cuda and not torch.is_grad_enabled() and x.dtype in DTYPES and cuda.is_available(x.device)


def bias_act(x: Tensor, bias: Tensor | None, slope: float = 1, add: Tensor | None = None, shuffle: bool = False) -> Tensor:
    """Computes leaky_relu(pixel_shuffle(x + bias, 2) + add, slope); pixel_shuffle only with `shuffle`.

    In float32 it equals PyTorch's operators one after the other. In 16-bit types it rounds once instead of after each.

    Args:
        x: what a convolution without bias gave, (b, c, h, w), on a GPU; it is overwritten if it is channels_last.
        bias: (c,), or None.
        slope: negative slope of the LeakyReLU; 0 gives a ReLU, 1 leaves it out.
        add: a tensor with the output's shape that is added, or None; not with `shuffle`.
        shuffle: whether each four channels become 2x2 pixels of one channel.

    Returns:
        (b, c, h, w) or, with `shuffle`, (b, c / 4, 2 * h, 2 * w), channels_last.

    Raises:
        ValueError: if the tensors do not belong together, or are too large for the kernel's 32-bit numbers.
    """
    x = _ready(x, x.dtype)
    bias = None if bias is None else _ready(bias, x.dtype)
    if shuffle:
        if add is not None:
            raise ValueError("nothing can be added with shuffle")
        out: Tensor = torch.ops.vsedvr.bias_act_shuffle(x, bias, slope)
        return out
    torch.ops.vsedvr.bias_act_(x, bias, None if add is None else _ready(add, x.dtype), slope)
    return x


def bias_act_cuda(x: Tensor, bias: Tensor | None, add: Tensor | None, slope: float) -> None:
    """Runs the kernel without pixel_shuffle on x, in place; all tensors as `bias_act` prepares them."""
    b, c, h, w = x.shape
    pixels = b * h * w
    if pixels >= 2**31 or x.numel() >= 2**34:
        raise ValueError(f"x is too large: at most 2**31 pixels and 2**34 values, got {tuple(x.shape)}; restore in tiles")
    _check("x", x, (b, c, h, w), x)
    if bias is not None:
        _check("bias", bias, (c,), x)
    if add is not None:
        _check("add", add, (b, c, h, w), x)
    if x.numel():
        blocks = (-(-x.numel() // (8 * cuda.THREADS)),)
        cuda.launch(f"bias_act_{_name(x.dtype)}", blocks, 0, x, bias, add, pixels, c, float(slope))


def bias_act_shuffle_cuda(x: Tensor, bias: Tensor | None, slope: float) -> Tensor:
    """Runs the kernel with pixel_shuffle; all tensors as `bias_act` prepares them."""
    b, c, h, w = x.shape
    if c % 4:
        raise ValueError(f"with shuffle the number of channels must be a multiple of 4, got {c}")
    pixels, threads = b * h * w, b * h * w * -(-c // 32)
    if threads >= 2**31:
        raise ValueError(f"x is too large for 32-bit numbers, got {tuple(x.shape)}; restore in tiles")
    _check("x", x, (b, c, h, w), x)
    if bias is not None:
        _check("bias", bias, (c,), x)
    out = torch.empty((b, c // 4, 2 * h, 2 * w), dtype=x.dtype, device=x.device, memory_format=LAST)
    _check("out", out, (b, c // 4, 2 * h, 2 * w), x)
    if threads:
        blocks = (-(-threads // cuda.THREADS),)
        cuda.launch(f"bias_act_shuffle_{_name(x.dtype)}", blocks, 0, x, bias, out, pixels, w, c // 4, float(slope))
    return out


_bias_act = torch.library.custom_op("vsedvr::bias_act_", bias_act_cuda, mutates_args=("x",), device_types="cuda")
_bias_act_shuffle = torch.library.custom_op(
    "vsedvr::bias_act_shuffle", bias_act_shuffle_cuda, mutates_args=(), device_types="cuda"
)


@_bias_act.register_fake
def _(x: Tensor, bias: Tensor | None, add: Tensor | None, slope: float) -> None:
    return None


@_bias_act_shuffle.register_fake
def _(x: Tensor, bias: Tensor | None, slope: float) -> Tensor:
    b, c, h, w = x.shape
    return torch.empty((b, c // 4, 2 * h, 2 * w), dtype=x.dtype, device=x.device, memory_format=LAST)


def _ready(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor as a kernel reads it: of the type, channels_last, at a multiple of 16 bytes; else a copy that is."""
    layout = LAST if tensor.ndim == 4 else torch.contiguous_format
    if tensor.dtype != dtype or not tensor.is_contiguous(memory_format=layout):  # asked first, since conversions take longer
        tensor = tensor.to(dtype).contiguous(memory_format=layout)
    return tensor if tensor.storage_offset() * tensor.element_size() % 16 == 0 else tensor.clone()


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    check(name, tensor, shape, x.dtype, x.device, LAST if len(shape) == 4 else torch.contiguous_format)
    if tensor.data_ptr() % 16:
        raise ValueError(f"{name} must lie at a multiple of 16 bytes, got the address {tensor.data_ptr()}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
