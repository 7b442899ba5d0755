"""Builds tensors from the inert records of a pickle.

PyTorch pickles a tensor as a call of one of its functions, with a storage and the tensor's place in it as arguments. This
module does the work of these functions, and checks every number against the bytes that are really there.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vsedvr.weights.error import CheckpointError
from vsedvr.weights.inert import Global, Object, as_bytes

__all__ = ["DTYPES", "STORAGE_DTYPES", "is_tensor", "rebuild"]

Read = Callable[[Any], tuple[bytearray, torch.dtype | None]]
"""Function that returns the bytes of a storage and their data type; None if only the tensor's record has the type."""

DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
"""Data type of each of PyTorch's storage classes, by the class name, which is the same for CPU and GPU."""

VIEWS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter", "Variable", "Buffer")
TYPED = ("_rebuild_from_type", "_rebuild_from_type_v2")
"""PyTorch's functions for tensors with attributes or of a subclass: their arguments are another function and its own."""
OF_NUMPY = ("_rebuild_device_tensor_from_numpy", "_rebuild_xla_tensor")
FOREIGN = {
    "_rebuild_qtensor": "quantised tensors",
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_meta_tensor_no_storage": "tensors without numbers (of PyTorch's meta device)",
}
NUMPY = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
NUMPY_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
NUMPY_DTYPES = {
    **{"f2": torch.float16, "f4": torch.float32, "f8": torch.float64},
    **{"i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64, "u1": torch.uint8, "b1": torch.bool},
}


def is_tensor(value: Any) -> bool:
    """Whether a record of a pickle stands for a tensor of PyTorch or an array of NumPy."""
    return isinstance(value, Object) and (
        _torch_name(value) in (*VIEWS, *WRAPPERS, *TYPED, *OF_NUMPY) or value.made_by in (*NUMPY, *NUMPY_BUFFER)
    )


def rebuild(value: Any, read: Read, limit: int) -> Tensor:
    """Builds the tensor that a record stands for, contiguous and in the CPU's memory.

    Args:
        value: the record of a tensor, a parameter or an array.
        read: returns the bytes and data type of a storage, given its record; raises CheckpointError if there is none.
        limit: largest size of the tensor in bytes.

    Raises:
        CheckpointError: if the record is of another kind, or its numbers do not fit the storage or the limit.
    """
    try:
        return _rebuild(value, read, limit)
    except (RuntimeError, TypeError, OverflowError, IndexError, AttributeError, KeyError) as error:
        raise CheckpointError("is damaged: a tensor in it does not fit its storage") from error


def _rebuild(value: Any, read: Read, limit: int) -> Tensor:
    for _ in range(8):  # a parameter holds a tensor, which may have attributes; a hostile one holds itself
        name = _torch_name(value)
        if name in WRAPPERS:
            value = value.args[0]
        elif name in TYPED and isinstance(value.args[0], Global):
            value = Object(value.args[0].name, value.args[2])
        elif name in OF_NUMPY:
            value = value.args[0]
        else:
            break
    if name in VIEWS:
        storage, offset, size, stride, *rest = value.args
        data, dtype = read(storage)
        if dtype is None or name == "_rebuild_tensor_v3":
            dtype = DTYPES[rest[2].name]
        return _strided(data, dtype, offset, size, stride, limit)
    made_by = value.made_by if isinstance(value, Object) else type(value).__name__
    if made_by in NUMPY:
        _, shape, dtype, fortran, data = value.state
        return _array(data, dtype, shape, "F" if fortran else "C", limit)
    if made_by in NUMPY_BUFFER:
        data, dtype, shape, order = value.args
        return _array(data, dtype, shape, order, limit)
    what = FOREIGN.get(name, made_by)
    raise CheckpointError(f"holds {what} where plain tensors should be; save it with weights of fp32, fp16 or bf16")


def _torch_name(value: Any) -> str:
    """Last part of the name of a record's class or function if that is one of PyTorch; else an empty string."""
    package, _, rest = value.made_by.partition(".") if isinstance(value, Object) else ("", "", "")
    return rest.rpartition(".")[2] if package == "torch" else ""


def _array(data: Any, dtype: Object, shape: tuple[int, ...], order: str, limit: int) -> Tensor:
    """Builds a tensor from a NumPy array; its dtype is a record named "f4" or "<f4" with the byte order in its state."""
    name = dtype.args[0].lstrip("<|=>")
    if dtype.state[1] == ">" or name not in NUMPY_DTYPES:
        raise CheckpointError(f"holds an array of numpy of the type {name!r} in the place of a plain tensor")
    sizes = shape if order == "C" else shape[::-1]
    strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    strides = strides if order == "C" else strides[::-1]
    return _strided(bytearray(as_bytes(data)), NUMPY_DTYPES[name], 0, shape, strides, limit)


def _strided(data: bytearray, dtype: torch.dtype, offset: int, size: Any, stride: Any, limit: int) -> Tensor:
    """Copies a tensor out of data. Its offset, size and strides are counted in numbers, not in bytes."""
    numbers = (offset, *size, *stride)
    if any(type(number) is not int or number < 0 for number in numbers) or len(size) != len(stride):
        raise TypeError("no place in a storage")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count == 0:
        return torch.empty(size, dtype=dtype, device="cpu")
    if (last + 1) * dtype.itemsize > len(data) or count * dtype.itemsize > limit:
        raise CheckpointError("is damaged or truncated: a tensor in it is larger than its storage; download it again")
    numbers_there = torch.frombuffer(data, dtype=dtype, count=len(data) // dtype.itemsize)
    return numbers_there.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
