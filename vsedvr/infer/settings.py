"""PyTorch's settings that decide which kernels run, changed for a time and put back.

They belong to the whole process, so another thread may read or change them meanwhile. That must not fail, and nothing that
it sets may be lost. PyTorch has two ways to ask for TensorFloat-32 (TF32), an old one (`cudnn.allow_tf32`,
`cuda.matmul.allow_tf32`, `get_float32_matmul_precision`) and a new one (`fp32_precision` of each kind of operation), and asking
by the old one fails where the two disagree. So here both are changed together.
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
    """The old way for cuDNN; None where asking fails."""
    matmul_precision: str | None
    """The old way for matrix products: "highest", "high" or "medium"; None where asking fails."""
    conv: str
    """The new way from here on: "ieee", "tf32", "bf16", or "none" where nothing is set."""
    rnn: str
    matmul: str
    cpu_matmul: str


@contextmanager
def reproducible(tf32: bool) -> Iterator[None]:
    """For a time, equal input gives equal output on a GPU, bit for bit, and TF32 is used in float32 or not.

    cuDNN does not race its algorithms, of which another may win next time, and takes none that adds up in varying order.
    Settings that are so already are not touched. Of the others each is put back afterwards, unless someone else has changed
    it by then.
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
        matmul_precision = "highest"  # this and the next are what PyTorch accepts together
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
    """Changes what is not as wanted. The old ways come first: each sets new ones as well, in one step."""
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
            owner.fp32_precision = "none"  # where the same comes from torch.backends.fp32_precision, it goes on doing so
        if owner.fp32_precision != precision:
            owner.fp32_precision = precision


def _owners() -> tuple[Any, ...]:
    """Who has the settings of the new way, in the order of _Settings."""
    backends: Any = torch.backends
    return backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul


def _with_old_ways(before: _Settings) -> _Settings:
    """With what lies behind the old ways where asking fails, since the user has mixed them with the new one."""
    conv, rnn, matmul, cpu_matmul = _owners()
    if before.allow_tf32 is None:
        conv.fp32_precision = rnn.fp32_precision = "tf32"
        before = before._replace(allow_tf32=_ask(lambda: torch.backends.cudnn.allow_tf32) is not None)
    if before.matmul_precision is None:
        matmul.fp32_precision = cpu_matmul.fp32_precision = "ieee"
        before = before._replace(matmul_precision=torch.get_float32_matmul_precision())
    return before


def _same(now: object, ours: object) -> bool:
    """Whether a setting is as it was left. Where other threads use `torch.backends.cudnn.flags`, it makes "none" of "ieee"."""
    return now == ours or {now, ours} == {"none", "ieee"}


def _ask[T](setting: Callable[[], T]) -> T | None:
    try:
        return setting()
    except RuntimeError:
        return None
