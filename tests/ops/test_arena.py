"""Memory that is reused for the results of the CPU kernels."""

import gc
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

from vsedvr.ops import Arena, PackedConv3x3, add, dcn, empty_picture, native

MB = 1 << 20
FLOAT = torch.float32


def lies_in(arena: Arena, tensor: torch.Tensor) -> bool:
    begin = arena.memory.ctypes.data
    return begin <= tensor.data_ptr() < begin + len(arena.memory)


def free(arena: Arena) -> list[tuple[int, int]]:
    """Returns the free ranges, after freed results have been taken back."""
    assert arena.empty((1, 1, len(arena.memory), 1), FLOAT) is None, "four times its size"
    return arena.gaps


def test_large_pictures_lie_in_the_arena_that_is_lent() -> None:
    arena, shape = Arena(8 * MB), (2, 5, 256, 512)
    with arena.lent():
        large, small = empty_picture(shape, FLOAT), empty_picture((1, 3, 10, 10), FLOAT)
    after = empty_picture(shape, FLOAT)
    assert [lies_in(arena, tensor) for tensor in (large, small, after)] == [True, False, False]
    for tensor in (large, after):
        assert tensor.shape == shape
        assert tensor.dtype == FLOAT
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_sums_lie_in_the_arena_that_is_lent() -> None:
    arena, a, b = Arena(8 << 20), torch.rand(1, 16, 128, 160), torch.rand(1, 16, 128, 160)
    with torch.no_grad():
        with arena.lent():
            out = add(a, b)
        assert lies_in(arena, out)
        assert not lies_in(arena, add(a, b)), "nothing is lent any more"
    assert torch.equal(out, a + b)


def test_memory_is_free_when_the_last_tensor_that_shares_it_ends() -> None:
    arena = Arena(8 * MB)
    arena.memory.fill(255)  # NaN, as memory without values may hold
    first = arena.empty((1, 2, 512, 512), FLOAT)
    second = arena.empty((1, 2, 512, 512), torch.bfloat16)
    assert first is not None
    assert second is not None
    part = first[:, 1, 100:].fill_(3)
    assert free(arena) == [(3 * MB, 8 * MB)]
    del second
    assert free(arena) == [(2 * MB, 8 * MB)]
    del first
    assert free(arena) == [(2 * MB, 8 * MB)], "a part of it is in use"
    third = arena.empty((1, 1, 512, 512), FLOAT)
    assert third is not None
    third.zero_()
    assert (part == 3).all()
    del part
    assert free(arena) == [(0, 2 * MB), (3 * MB, 8 * MB)]
    again = arena.empty((1, 2, 512, 512), FLOAT)
    assert again is not None
    assert again.data_ptr() == arena.memory.ctypes.data


def test_what_finds_no_room_gets_memory_of_its_own() -> None:
    arena = Arena(3 * MB)
    with arena.lent():
        tensors = [empty_picture((1, 1, 512, 512), FLOAT) for _ in range(5)]
    for k, tensor in enumerate(tensors):
        tensor.fill_(k)
    assert sum(lies_in(arena, tensor) for tensor in tensors) == 3
    assert all((tensor == k).all() for k, tensor in enumerate(tensors))


def test_random_use_never_gives_the_same_memory_twice() -> None:
    arena, rng = Arena(16 * MB), np.random.default_rng(0)
    alive: list[tuple[torch.Tensor, int]] = []
    for step in range(400):
        if alive and rng.random() < 0.5:
            tensor, value = alive.pop(rng.integers(len(alive)))
            assert (tensor == value).all()
        shape = (1, int(rng.integers(1, 9)), int(rng.integers(1, 700)), 256)
        taken = arena.empty(shape, FLOAT)
        if taken is not None:
            alive.append((taken.fill_(step), step))
    del taken, tensor
    alive.clear()
    gc.collect()
    assert free(arena) == [(0, 16 * MB)]


def test_a_tensor_outlives_its_arena() -> None:
    arena = Arena(4 * MB)
    with arena.lent():
        tensor = empty_picture((1, 1, 512, 512), FLOAT).fill_(7)
    del arena
    gc.collect()
    assert (tensor == 7).all()


def test_it_is_lent_to_one_thread_and_within_the_block_only() -> None:
    arena, seen = Arena(4 * MB), []

    def ask() -> None:
        seen.append(lies_in(arena, empty_picture((1, 1, 512, 512), FLOAT)))

    with arena.lent():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        ask()
    ask()
    with suppress(ZeroDivisionError), arena.lent():
        raise ZeroDivisionError
    ask()
    assert seen == [False, True, False, False]


def test_threads_that_share_an_arena() -> None:
    arena, wrong = Arena(16 * MB), []

    def work(value: int) -> None:
        with arena.lent():
            for _ in range(60):
                tensor = empty_picture((1, 1, 512, 512 + 64 * value), FLOAT).fill_(value)
                wrong.extend([value] * int((tensor != value).any()))

    threads = [threading.Thread(target=work, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert free(arena) == [(0, 16 * MB)]


@pytest.mark.skipif(not native.is_available(), reason="built without a compiler")
def test_the_kernels_write_there_and_give_the_same() -> None:
    x, weight, bias = torch.randn(1, 16, 130, 140), torch.randn(16, 16, 3, 3), torch.randn(16)
    conv_offset_output = torch.randn(1, 108, 130, 140)
    packed = PackedConv3x3(weight, bias)

    def run() -> list[Any]:
        return [
            packed(x, 0.1),
            dcn(x, conv_offset_output, weight, bias, 0.1),
            dcn(x.bfloat16(), conv_offset_output, weight, bias, 1),
        ]

    arena = Arena(16 * MB)
    with arena.lent(), torch.no_grad():
        inside = run()
        again = run()
    assert [lies_in(arena, out) for out in inside] == [True, True, False], "the last one is small"
    with torch.no_grad():
        assert all(torch.equal(a, b) and torch.equal(b, c) for a, b, c in zip(inside, again, run(), strict=True))
