"""The inert unpickler gives the same plain data as pickle, and records of everything else by name."""

import collections
import io
import pickle
import random
from typing import Any

import pytest

from vsedvr.weights.inert import MAX_STEPS, Global, Object, read_pickle


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content), len(content)).value


def plain_data(rng: random.Random, depth: int = 4) -> Any:
    kind = rng.randrange(11 if depth else 8)
    match kind:
        case 0:
            return rng.choice((None, True, False, (), b"", ""))
        case 1:
            return rng.choice((-1, 1)) * rng.getrandbits(rng.choice((3, 8, 16, 31, 33, 64, 3000)))
        case 2:
            return rng.uniform(-1e9, 1e9)
        case 3 | 4:
            return "".join(chr(rng.choice((65, 10, 92, 39, 228, 27169, 128512))) for _ in range(rng.randrange(300)))
        case 5 | 6 | 7:
            return rng.randrange(100)
        case 8:
            return [plain_data(rng, depth - 1) for _ in range(rng.randrange(6))]
        case 9:
            return tuple(plain_data(rng, depth - 1) for _ in range(rng.randrange(6)))
        case _:
            return {f"key {k}": plain_data(rng, depth - 1) for k in range(rng.randrange(6))}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_as_pickle_reads_it(protocol: int) -> None:
    rng = random.Random(protocol)
    for _ in range(40):
        shared = plain_data(rng)
        data = {"a": [shared, shared], "b": shared, "bytes": rng.randbytes(300), "c": plain_data(rng)}
        if protocol < 3:  # where bytes are written as a call
            data = _without_bytes(data)
        content = pickle.dumps(data, protocol)
        value = read(content)
        assert value == pickle.loads(content)


def _without_bytes(value: Any) -> Any:
    match value:
        case bytes():
            return None
        case list() | tuple():
            return type(value)(map(_without_bytes, value))
        case dict():
            return {key: _without_bytes(item) for key, item in value.items()}
        case _:
            return value


class Example:
    def __init__(self) -> None:
        self.number = 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_are_records(protocol: int) -> None:
    record = read(pickle.dumps(Example(), protocol))
    assert isinstance(record, Object)
    assert record.state == {"number": 3}
    named = [record.made_by, *(arg.name for arg in record.args if isinstance(arg, Global))]
    assert f"{__name__}.Example" in named
    counter = read(pickle.dumps(collections.OrderedDict(a=1, b=[2]), protocol))
    assert isinstance(counter, Object)
    assert counter.made_by == "collections.OrderedDict"
    assert counter.items == {"a": 1, "b": [2]}


def test_the_file_is_left_behind_the_end() -> None:
    file = io.BytesIO(b"".join(pickle.dumps(k, 2) for k in range(3)) + b"rest")
    assert [read_pickle(file, 100).value for _ in range(3)] == [0, 1, 2]
    assert file.read() == b"rest"


def test_names_are_collected() -> None:
    content = pickle.dumps([Example, pickle.Pickler, {Example: 1}], 4)
    assert read_pickle(io.BytesIO(content), len(content)).names == {f"{__name__}.Example", "_pickle.Pickler"}


def test_the_number_of_instructions_is_limited() -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_STEPS} instructions"):
        read(b"\x80\x02" + b"N0" * (MAX_STEPS // 2) + b"N.")
