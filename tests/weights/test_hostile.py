"""Damaged and hostile files give the right network or a CheckpointError, execute nothing, and take limited memory."""

import copyreg
import io
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from checkpoint_files import assert_sound, error_of
from conftest import random_model
from vsedvr.model import EDVRConfig
from vsedvr.weights import CheckpointError, load_model

FILES_OF_A_KIND = 300
SMALLEST = EDVRConfig(3, 3, 4, 3, 1, 0, 0, with_tsa=False, num_tail_feat=4)
SOUND: dict[str, Tensor] = random_model(SMALLEST).state_dict()
DATA_PKL = "archive/data.pkl"


def torch_bytes(content: object, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


KINDS = {
    "zip": torch_bytes({"params": SOUND}),
    "legacy": torch_bytes({"params": SOUND}, legacy=True),
    "plain": pickle.dumps({"params": SOUND}, 4),
    "safetensors": save_safetensors(SOUND),
}


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Makes one to four changes, half of them near the ends, where headers and pickles are."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = len(changed)
        near = rng.choice((size, min(size, 6000)))
        at = rng.choice((rng.randrange(near), size - 1 - rng.randrange(near)))
        length = rng.choice((1, 2, 8, 64, 1000))
        piece = bytes(changed[at : at + length])
        match rng.randrange(8):
            case 0 | 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[max(at, 1) :]
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = piece
            case 5:
                other = rng.randrange(size)
                changed[other : other + len(piece)], changed[at : at + length] = piece, changed[other : other + len(piece)]
            case 6:
                changed[at : at + length] = rng.choice((b"\x00", b"\xff", b"\x80")) * len(piece)
            case 7:
                changed[at : at + length] = rng.randbytes(len(piece))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    """Each file is refused, or loads as a network of the right shapes; formats with checksums load only the right values."""
    rng, path, refused = random.Random(f"fuzz {kind}"), tmp_path / "m.pth", 0
    for _ in range(FILES_OF_A_KIND):
        path.write_bytes(mutate(KINDS[kind], rng))
        try:
            loaded = load_model(path).state_dict()
        except CheckpointError:
            refused += 1
            continue
        assert all(value.isfinite().all() for value in loaded.values())
        if kind == "zip":
            assert all(torch.equal(value, SOUND[key]) for key, value in loaded.items())
    assert refused > FILES_OF_A_KIND / 3


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def stack_named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return text(module) + text(attribute) + b"\x93"


COMMAND = text("touch executed")
CODE = text("open('executed', 'w')")
HOSTILE = {
    "os.system": named("os.system") + COMMAND + b"\x85R",
    "posix.system": stack_named("posix.system") + COMMAND + b"\x85R",
    "nt.system": named("nt.system") + COMMAND + b"\x85R",
    "subprocess.Popen": named("subprocess.Popen") + text("touch") + text("executed") + b"\x86\x85\x81",
    "builtins.eval": named("builtins.eval") + CODE + b"\x85R",
    "builtins.exec": stack_named("builtins.exec") + CODE + b"\x85R",
    "__builtin__.eval": named("__builtin__.eval") + CODE + b"\x85R",
    "builtins.__import__": named("builtins.__import__") + text("canary_of_the_fuzz") + b"\x85R",
    "runpy._run_code": named("runpy._run_code") + CODE + b"}\x86R",
    "shutil.rmtree": named("shutil.rmtree") + text(".") + b"\x85R",
    "os.system by INST": b"(" + COMMAND + b"ios\nsystem\n",
    "os.system by OBJ": b"(" + named("os.system") + COMMAND + b"o",
    "os.system by NEWOBJ_EX": named("os.system") + COMMAND + b"\x85}\x92",
    "os.system as a function of a tensor": named("torch._tensor._rebuild_from_type_v2")
    + b"("
    + (named("os.system") + named("torch.Tensor") + COMMAND + b"\x85" + b"NtR"),
    "os.system through getattr": named("builtins.getattr") + named("os.sys") + text("system") + b"\x86R" + COMMAND + b"\x85R",
    "os.system in a partial": named("functools.partial") + named("os.system") + COMMAND + b"\x86R)R",
    "sys.modules": named("sys.modules"),
}
INERT = {
    "getattr": named("builtins.getattr") + named("canary_of_the_fuzz.os") + text("system") + b"\x86R" + COMMAND + b"\x85R",
    "a dotted name": stack_named("canary_of_the_fuzz.os") + text("x") + b"\x85R",
    "an import": named("canary_of_the_fuzz.Evil") + b")R",
    "a class": named("canary_of_the_fuzz.Evil") + b")\x81" + CODE + b"b",
    "__setstate__": named("canary_of_the_fuzz.Evil") + b")\x81}" + text("__setstate__") + named("builtins.print") + b"sb",
    "slots": named("collections.OrderedDict") + b")RN}" + text("update") + named("builtins.print") + b"s\x86b",
    "copyreg": named("copyreg._reconstructor") + named("canary_of_the_fuzz.Evil") + named("builtins.object") + b"N\x87R",
    "methodcaller": named("operator.methodcaller")
    + text("system")
    + COMMAND
    + b"\x86R"
    + named("canary_of_the_fuzz.os")
    + b"\x85R",
    "torch.load": named("torch.load") + text("executed") + b"\x85R",
    "extension 1": b"\x82\x07" + COMMAND + b"\x85R",
    "extension 2": b"\x83\x07\x00" + COMMAND + b"\x85R",
    "extension 4": b"\x84\x07\x00\x00\x00" + COMMAND + b"\x85R",
    "a call of a call": named("canary_of_the_fuzz.Evil") + b")R)R)R",
    "a call of a string": COMMAND + b")R",
    "a tensor without arguments": named("torch._utils._rebuild_tensor_v2") + b")R",
    "a persistent list": b"]Q",
    "a persistent dict": b"}Q",
    "a persistent number": b"K\x01Q",
    "a persistent line": b"Pstorage\n",
    "a storage of nothing": b"(" + text("storage") + b"NNNNtQ",
    "a nested file": named("torch.storage._load_from_bytes") + b"B\x04\x00\x00\x00evil\x85R",
}
MALFORMED = {
    "a class that is changed": named("collections.OrderedDict") + b"}" + text("x") + b"K\x01sb",
    "a dict with a state": b"}}b",
    "a name that is none": b"]]\x93",
    "too little on the stack": b"RRRRRRRR",
    "no mark": b"u",
    "an unknown memo": b"j\xff\xff\xff\x7f",
    "an unknown instruction": b"\xfe",
    "buffers from elsewhere": b"\x97",
    "an odd number of keys and values": b"}(" + text("a") + b"u",
    "items for a number": b"K\x01" + text("a") + b"a",
}


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if something was executed, which would create a file or import a module."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/canary_of_the_fuzz.py").write_text("import os\nopen('executed', 'w')\nclass Evil: pass\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    copyreg.add_extension("os", "system", 7)
    yield
    copyreg.remove_extension("os", "system", 7)
    assert not (tmp_path / "here/executed").exists()
    assert "canary_of_the_fuzz" not in sys.modules


def with_fragment(fragment: bytes, params_last: bool = False) -> tuple[bytes, bytes]:
    """Writes the sound network together with some instructions, as a file of torch.save and as a plain pickle."""
    with zipfile.ZipFile(io.BytesIO(KINDS["zip"])) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}

    def insert(pickled: bytes) -> bytes:
        body = pickled[2:-1]  # without the protocol and the end
        return b"\x80\x02}" + text("all") + body + b"s" + text("meta") + fragment + b"s."

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, insert(content) if name == DATA_PKL else content)
    return file.getvalue(), insert(pickle.dumps({"params": SOUND}, 3))


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("fragment", HOSTILE.values(), ids=HOSTILE)
def test_what_would_run_code_is_refused_by_name(tmp_path: Path, fragment: bytes) -> None:
    for content in with_fragment(fragment):
        (tmp_path / "m.pth").write_bytes(content)
        assert "could run code" in error_of(tmp_path / "m.pth")


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("fragment", INERT.values(), ids=INERT)
def test_what_nobody_knows_stays_inert(tmp_path: Path, fragment: bytes) -> None:
    for content in with_fragment(fragment):
        (tmp_path / "m.pth").write_bytes(content)
        assert_sound(tmp_path / "m.pth", SOUND)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("fragment", MALFORMED.values(), ids=MALFORMED)
def test_pickles_that_no_program_writes(tmp_path: Path, fragment: bytes) -> None:
    for content in with_fragment(fragment):
        (tmp_path / "m.pth").write_bytes(content)
        assert "damaged" in error_of(tmp_path / "m.pth")


def zip_of(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], count: int, offset: int = 0) -> bytes:
    """Makes a pickle of {"pcd_align.weight": tensor} whose storage claims to hold `count` numbers."""
    storage = b"(" + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + number(count) + b"tQ"
    place = number(offset) + b"(" + b"".join(map(number, size)) + b"t(" + b"".join(map(number, stride)) + b"t"
    record = named("torch._utils._rebuild_tensor_v2") + b"(" + storage + place + b"\x89NtR"
    return b"\x80\x02}" + text("pcd_align.weight") + record + b"s."


def number(value: int) -> bytes:
    content = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + content


def laughs() -> bytes:
    """Makes nested lists with 2^60 entries in all."""
    levels = b"".join(b"](h" + bytes([k]) + b"h" + bytes([k]) + b"eq" + bytes([k + 1]) for k in range(60))
    return b"\x80\x02]q\x00" + levels + b"."


def zip64_lie() -> bytes:
    """Makes an archive whose directory claims that the pickle has 2^40 bytes."""
    content = zip_of({DATA_PKL: b"\x80\x02}.", "archive/data/0": bytes(64)})
    at = content.index(b"PK\x01\x02")
    lie = bytearray(content)
    lie[at + 20 : at + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(lie)


ONE_STORAGE = torch_bytes({"pcd_align.weight": torch.zeros(4)}, legacy=True)
"""It ends with the number of numbers in its storage, 8 bytes, and the numbers."""
BOMBS = {
    "a string of 2^60": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.",
    "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"a.",
    "a bytearray of 2^62": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"a.",
    "a frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}.",
    "a memo of 2^31": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a number of 2^31 bytes": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "lists of lists": laughs(),
    "deep lists": b"\x80\x02" + b"](" * 300_000 + b"e" * 300_000 + b".",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",
    "long names, often": b"\x80\x02](" + text("a" * 100_000) + b"q\x01" + b"h\x01h\x01\x93" * 100_000 + b"e.",
    "long keys, often": b"\x80\x02](" + text("a" * 100_000) + b"q\x01" + b"}h\x01]s" * 100_000 + b"e.",
    "many empty dicts": b"\x80\x02(" + b"}" * 20_000_000 + b"l.",
    "a tensor of 2^40": zip_of({DATA_PKL: tensor_pickle((1 << 40,), (1,), 1 << 40), "archive/data/0": bytes(64)}),
    "a tensor of stride 0": zip_of({DATA_PKL: tensor_pickle((1 << 20, 1 << 20), (0, 0), 16), "archive/data/0": bytes(64)}),
    "a tensor of size 2^100": zip_of({DATA_PKL: tensor_pickle((1 << 100, 0), (1, 1), 16), "archive/data/0": bytes(64)}),
    "a stride of 2^100": zip_of({DATA_PKL: tensor_pickle((1,), (1 << 100,), 16), "archive/data/0": bytes(64)}),
    "a start before the storage": zip_of({DATA_PKL: tensor_pickle((4,), (1,), 16, -4), "archive/data/0": bytes(64)}),
    "a negative stride": zip_of({DATA_PKL: tensor_pickle((4,), (-1,), 16, 8), "archive/data/0": bytes(64)}),
    "a compressed pickle": zip_of({DATA_PKL: b"\x80\x02]" + bytes(200_000_000)}, zipfile.ZIP_DEFLATED),
    "a compressed storage": zip_of(
        {DATA_PKL: tensor_pickle((50_000_000,), (1,), 50_000_000), "archive/data/0": bytes(200_000_000)}, zipfile.ZIP_DEFLATED
    ),
    "lengths of zip64": zip64_lie(),
    "paths to elsewhere": zip_of({"/etc/data.pkl": b"\x80\x02}.", "../../data/0": bytes(64)}),
    "a legacy storage of 2^60": ONE_STORAGE[:-24] + struct.pack("<q", 1 << 60) + ONE_STORAGE[-16:],
    "a header of 2^40": struct.pack("<Q", 1 << 40) + b'{"a":',
}
IN_A_PROCESS = """
import resource, sys
from pathlib import Path
from vsedvr.weights import CheckpointError, load_model
load_model("small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_model(path)
    except CheckpointError:
        continue
    sys.exit(f"{path} was loaded")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_bombs_take_bounded_memory(tmp_path: Path) -> None:
    for name, content in BOMBS.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700, "MiB more than a sound model took"


def test_a_tensor_may_be_larger_than_its_storage_within_reason(tmp_path: Path) -> None:
    """Expanded tensors have strides of 0; the memory that they would take is limited by the size of the file."""
    expanded: dict[str, Tensor] = {**SOUND, "conv_hr.bias": torch.tensor([0.5]).expand(4)}
    torch.save(expanded, tmp_path / "m.pth")
    assert_sound(tmp_path / "m.pth", {**SOUND, "conv_hr.bias": torch.full((4,), 0.5)})
