"""All the ways in which PyTorch and people write tensors into a file."""

import argparse
import collections
import datetime
import enum
import functools
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoint_files import SOUND, add_class, assert_sound, dump, error_of, module_of_others, prefixed, save
from conftest import random_model

PROTOCOLS = (2, 3, 4, 5)


class Tagged(Tensor):
    """A subclass of Tensor."""


class Colour(enum.Enum):
    RED = 1


def flat(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the same tensors as views of a single storage."""
    storage = torch.cat([torch.zeros(3), *(value.flatten() for value in tensors.values())])
    views, start = {}, 3
    for key, value in tensors.items():
        views[key] = storage[start : start + value.numel()].view(value.shape)
        start += value.numel()
    return views


def with_attribute(tensors: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    made = {key: nn.Parameter(value) for key, value in tensors.items()}
    for value in made.values():
        value.lr_mul = 0.5  # type: ignore[attr-defined]
    return made


CONTENTS: dict[str, Any] = {
    "state dict": SOUND,
    "parameters": {key: nn.Parameter(value) for key, value in SOUND.items()},
    "attributes": with_attribute(SOUND),
    "subclass": {key: value.as_subclass(Tagged) for key, value in SOUND.items()},
    "views": flat(SOUND),
    "channels last": {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in SOUND.items()},
    "transposed": {key: value.transpose(0, -1).contiguous().transpose(0, -1) for key, value in SOUND.items()},
    "float64": {key: value.double() for key, value in SOUND.items()},
    "numpy": {key: value.numpy() for key, value in SOUND.items()},
    "Fortran": {key: np.asfortranarray(value.numpy()) for key, value in SOUND.items()},
    "module": random_model(),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_form_in_every_protocol(tmp_path: Path, content: Any, protocol: int) -> None:
    assert_sound(save(tmp_path / "zip.pth", content, pickle_protocol=protocol))
    assert_sound(save(tmp_path / "legacy.pth", content, pickle_protocol=protocol, _use_new_zipfile_serialization=False))
    assert_sound(dump(tmp_path / "plain.pth", content, protocol))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {key: value.to(dtype) for key, value in SOUND.items()}
    for legacy in (False, True):
        assert_sound(save(tmp_path / "m.pth", half, _use_new_zipfile_serialization=not legacy), half)
    assert_sound(dump(tmp_path / "m.pth", half, 4), half)


class Worker(nn.Module):
    """A network whose class no longer exists when the file is read."""


def test_foreign_objects_beside_the_weights(tmp_path: Path) -> None:
    with module_of_others("mmengine.logging.history_buffer") as module:
        buffer = add_class(module, "HistoryBuffer")()
        buffer._log_history, buffer._count_history = np.arange(1000.0), np.ones(1000, np.int64)
        buffer._statistics_methods = {"mean": functools.partial(np.mean, axis=0)}
        config = add_class(module, "ConfigDict", dict)(model={"type": "EDVR"})
        ordered = add_class(module, "Hub", collections.OrderedDict)(loss=buffer)
        network = add_class(module, "EDVRNet", nn.Module)()
        network.__dict__.update(random_model().__dict__)
        meta = {
            "message_hub": {"log_scalars": ordered, "runtime_info": collections.defaultdict(list, a=[config])},
            "numpy": [np.float32(3), np.float64(4), np.int64(5), np.bool_(True), np.array(["a"]), np.dtype("f4")],
            "args": argparse.Namespace(out=Path("out"), when=datetime.datetime(2024, 1, 1), colour=Colour.RED),
            "optimizer": functools.partial(torch.optim.Adam, lr=1e-4),
            "torch": [torch.float16, torch.device("cpu"), torch.Size([3]), torch.float8_e4m3fn],
            "sets": [{1, 2}, frozenset("ab"), b"bytes", bytearray(b"more"), 2**200, 1j, slice(3), range(4), None, ...],
        }
        for protocol in PROTOCOLS:
            for legacy in (False, True):
                path = tmp_path / f"{protocol}{legacy}.pth"
                content = {"meta": meta, "state_dict": prefixed("generator.")}
                save(path, content, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
            save(tmp_path / f"{protocol}module.pth", {"meta": meta, "net": network}, pickle_protocol=protocol)
    for path in tmp_path.iterdir():
        assert_sound(path)


def test_a_file_packed_anew(tmp_path: Path) -> None:
    """It is like a file that a browser unpacked: compressed, in a folder of another name, with macOS's folder beside it."""
    save(tmp_path / "m.pth", {"params": SOUND})
    with zipfile.ZipFile(tmp_path / "m.pth") as old, zipfile.ZipFile(tmp_path / "new.pth", "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("__MACOSX/EDVR M/._data.pkl", b"")
        for name in old.namelist():
            new.writestr(f"EDVR M/{name.partition('/')[2]}", old.read(name))
    assert_sound(tmp_path / "new.pth")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "quantised tensors"),
        (lambda value: value.to("meta"), "tensors without numbers"),
        (lambda value: value.to_sparse(), "sparse tensors"),
        (lambda value: value.to(torch.float8_e4m3fn), "quantised weights (float8_e4m3fn"),
        (lambda value: value.to(torch.float8_e5m2), "quantised weights (float8_e5m2"),
        (lambda value: value.char(), "quantised weights (int8"),
        (lambda value: value.to(torch.uint16), "integers"),
        (lambda value: value.to(torch.complex64), "complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_no_plain_floats(tmp_path: Path, change: Any, what: str) -> None:
    assert what in error_of(save(tmp_path / "m.pth", {key: change(value) for key, value in SOUND.items()}))


def test_a_foreign_class_in_the_place_of_a_weight_is_named(tmp_path: Path) -> None:
    with module_of_others("torchao.quantization") as module:
        strange = add_class(module, "QuantizedTensor")()
        save(tmp_path / "m.pth", {"params": {**SOUND, "conv_hr.weight": strange}})
    assert "torchao.quantization.QuantizedTensor" in error_of(tmp_path / "m.pth")


def test_another_order_of_bytes_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "m.pth", SOUND)
    with zipfile.ZipFile(tmp_path / "m.pth") as old, zipfile.ZipFile(tmp_path / "big.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    assert "another order of bytes" in error_of(tmp_path / "big.pth")
    save(tmp_path / "legacy.pth", SOUND, _use_new_zipfile_serialization=False)
    content = (tmp_path / "legacy.pth").read_bytes()
    at = content.index(b"little_endian") + len(b"little_endian")
    flag = content.index(b"\x88", at)
    (tmp_path / "legacy.pth").write_bytes(content[:flag] + b"\x89" + content[flag + 1 :])
    assert "another order of bytes" in error_of(tmp_path / "legacy.pth")
    arrays = {key: value.numpy().astype(">f4") for key, value in SOUND.items()}
    assert "array of numpy" in error_of(dump(tmp_path / "numpy.pth", arrays, 4))


def test_only_the_chosen_network_is_read(tmp_path: Path) -> None:
    """A state of a training is several times as large as its network, and its other parts may be damaged."""
    save(tmp_path / "m.pth", {"net": SOUND, "optimizer": [torch.full((64, 1024), 7.0)]})
    content = (tmp_path / "m.pth").read_bytes()
    at = content.index(np.full(1000, 7, "<f4").tobytes())
    (tmp_path / "m.pth").write_bytes(content[:at] + bytes(1000) + content[at + 1000 :])
    with pytest.raises(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO((tmp_path / "m.pth").read_bytes())) as archive:
        [archive.read(name) for name in archive.namelist()]
    assert_sound(tmp_path / "m.pth")
