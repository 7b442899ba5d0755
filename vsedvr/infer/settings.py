"""Temporarily changes the settings of PyTorch that decide which kernels run, and restores them.

The settings belong to the whole process, so another thread may read or change them meanwhile. That must not fail, and changes
of other threads must not be lost. PyTorch has two interfaces to TensorFloat-32 (TF32): an old one (`cudnn.allow_tf32`,
`cuda.matmul.allow_tf32`, `get_float32_matmul_precision`) and a new one (`fp32_precision` of each kind of operation). Reading
through the old one fails if the two disagree, so both are changed together here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

__all__ = ["reproducible"]


class _Settings(NamedTuple):
    benchmark: bool
    deterministic: bool
    allow_tf32: bool | None
    """Old interface, for cuDNN: whether TF32 is allowed; None if reading it fails."""
    matmul_precision: str | None
    """Old interface, for matrix products: "highest", "high" or "medium"; None if reading it fails."""
    conv: str
    """New interface, as in the fields below, for convolutions: "ieee", "tf32", "bf16", or "none" if nothing is set."""
    rnn: str
    matmul: str
    cpu_matmul: str


@contextmanager
def reproducible(tf32: bool) -> Iterator[None]:
    """Makes equal input give bit-identical output on a GPU inside the block, and switches TF32 in float32 on or off.

    cuDNN then does not choose its algorithms by timing them, since another could win next time, and it uses none that sums
    up in varying order. Only settings that differ are changed. At the end each is set back unless someone else has changed it.
    """
    before = _with_old_ways(_read())
    _write(_wanted(before, tf32))
    ours = _read()
    try:
        yield
    finally:
        now = _read()
        _write(_Settings._make(b if _same(n, o) else n for b, o, n in zip(before, ours, now, strict=True)))


def _wanted(before: _Settings, tf32: bool) -> _Settings:
    precision, matmul_precision, cpu_matmul = "tf32", before.matmul_precision, before.cpu_matmul
    if not tf32:
        precision = "ieee"
        matmul_precision = "highest"  # PyTorch accepts this together with the value in the next line
        cpu_matmul = "ieee" if cpu_matmul in ("tf32", "bf16") else cpu_matmul
    elif cpu_matmul == "bf16":
        matmul_precision = "medium"
    elif cpu_matmul == "tf32" or matmul_precision == "highest":
        matmul_precision = "high"
    return _Settings(False, True, tf32, matmul_precision, precision, precision, precision, cpu_matmul)


def _read() -> _Settings:
    cudnn = torch.backends.cudnn
    return _Settings(
        cudnn.benchmark,
        cudnn.deterministic,
        _ask(lambda: cudnn.allow_tf32),
        _ask(torch.get_float32_matmul_precision),
        *(owner.fp32_precision for owner in _owners()),
    )


def _write(wanted: _Settings) -> None:
    """Changes the settings that are not as wanted. The old interface comes first, because it sets the new one as well."""
    cudnn, now = torch.backends.cudnn, _read()
    if now.benchmark != wanted.benchmark:
        cudnn.benchmark = wanted.benchmark
    if now.deterministic != wanted.deterministic:
        cudnn.deterministic = wanted.deterministic
    if wanted.allow_tf32 is not None and now.allow_tf32 != wanted.allow_tf32:
        cudnn.allow_tf32 = wanted.allow_tf32
    if wanted.matmul_precision is not None and now.matmul_precision != wanted.matmul_precision:
        torch.set_float32_matmul_precision(wanted.matmul_precision)
    for owner, precision in zip(_owners(), wanted[4:], strict=True):
        if owner.fp32_precision != precision:
            owner.fp32_precision = "none"  # "none" suffices if torch.backends.fp32_precision has the wanted value
        if owner.fp32_precision != precision:
            owner.fp32_precision = precision


def _owners() -> tuple[Any, ...]:
    """PyTorch objects that hold the settings of the new interface, in the order of the fields of _Settings."""
    backends: Any = torch.backends
    return backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul


def _with_old_ways(before: _Settings) -> _Settings:
    """Fills in settings of the old interface that could not be read because the user has mixed it with the new one."""
    conv, rnn, matmul, cpu_matmul = _owners()
    if before.allow_tf32 is None:
        conv.fp32_precision = rnn.fp32_precision = "tf32"
        before = before._replace(allow_tf32=_ask(lambda: torch.backends.cudnn.allow_tf32) is not None)
    if before.matmul_precision is None:
        matmul.fp32_precision = cpu_matmul.fp32_precision = "ieee"
        before = before._replace(matmul_precision=torch.get_float32_matmul_precision())
    return before


def _same(now: object, ours: object) -> bool:
    """Whether a setting still has our value. "ieee" and "none" are equal: `torch.backends.cudnn.flags` makes one the other."""
    return now == ours or {now, ours} == {"none", "ieee"}


def _ask[T](setting: Callable[[], T]) -> T | None:
    try:
        return setting()
    except RuntimeError:
        return None
