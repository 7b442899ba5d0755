import configparser
import logging
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cuda_runner import compile_for_gpu
from vsedvr.ops import cuda, dcn, prepare
from vsedvr.ops.cuda_dcn import ANY_SHARED_BYTES, REGISTERS_SHARED_BYTES, mma_shared_bytes

ROOT = Path(__file__).parents[2]
KERNEL_FILES = ("*.cu", "*.cuh")

REGISTERS = 65536
"""Number of registers of a multiprocessor, in every architecture here."""

SHARED_KB = {75: 64, 80: 164, 86: 100, 89: 100, 90: 228, 100: 228, 120: 100}
"""Shared memory of a multiprocessor in bytes, by architecture. From 80 on the driver keeps 1 KB of it for each block."""


def test_the_text_is_the_files_of_the_checkout() -> None:
    for path in (path for pattern in KERNEL_FILES for path in (ROOT / "kernels").glob(pattern)):
        assert f'#line 1 "{path.name}"\n{path.read_text()}' in cuda.source()
    assert "#include" not in cuda.source(), "NVRTC finds no headers on users' machines"


def test_inline_ptx_stands_in_one_file() -> None:
    rest = cuda.source().split('#line 1 "deform_conv_samples.cuh"')[1]
    assert not re.search(r"\basm\b", rest)


def test_a_wheel_has_the_text(tmp_path: Path) -> None:
    """The wheel contains the kernels where setup.cfg puts them, inside of the package."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in config["options.package_data"]["vsedvr.kernels"].split(",")]
    package = tmp_path / "vsedvr"
    shutil.copytree(ROOT / "vsedvr", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "kernels").mkdir()
    for path in (ROOT / "kernels").iterdir():
        if any(fnmatch(path.name, pattern) for pattern in patterns):
            shutil.copy(path, package / "kernels")
    code = "from vsedvr.ops import cuda; print(cuda.FOLDERS[0], end=''); print(cuda.source(), end='')"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert result.stdout == f"{package / 'kernels'}{cuda.source()}", result.stderr


class Compiled:
    """The kernels, compiled as CuPy does for an architecture: the assembler's output for each, and its instructions."""

    def __init__(self, arch: int, folder: Path) -> None:
        self.arch = arch
        cubin, log = compile_for_gpu(cuda.source(), arch)
        reports = log.split("entry function 'vsedvr_")[1:]
        self.reports = {report.split("'")[0]: report for report in reports}
        path = folder / "kernels.cubin"
        path.write_bytes(cubin + b"\0")  # CuPy leaves out the last byte, without which the disassembler takes it for empty
        (tool,) = (file for file in metadata.files("nvidia-cuda-nvdisasm") or () if file.stem == "nvdisasm")
        command = [str(tool.locate()), "--print-code", str(path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
        sections = text.split(".section\t.text.vsedvr_")[1:]
        self.code = {section.split(",")[0]: section for section in sections}

    def count(self, kernel: str, instruction: str) -> int:
        return len(re.findall(rf"\b{instruction}\b", self.code[kernel]))


@pytest.fixture(scope="module", params=SHARED_KB)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(request.param, tmp_path_factory.mktemp("cubin"))


def test_cupy_compiles_the_kernels_of_every_architecture(compiled: Compiled) -> None:
    needed = {name for needed, names in cuda.KERNELS.items() if 10 * needed[0] + needed[1] <= compiled.arch for name in names}
    candidates = set(cuda.CANDIDATES) if compiled.arch >= 80 else set()
    assert set(compiled.reports) == set(compiled.code) == needed | candidates


def blocks_and_shared_bytes(kernel: str, arch: int) -> tuple[int, int]:
    """Returns how many blocks a multiprocessor should run at a time, and the shared memory in bytes of each."""
    kind, *_, c, groups = kernel.split("_") if kernel.split("_")[-1].isdigit() else (kernel.split("_")[0], "", "")
    if kind in ("registers", "half2"):
        return 2, REGISTERS_SHARED_BYTES[int(c)]
    if kind == "mma":
        blocks = 3 if int(c) <= 64 else 2 if arch >= 80 else 1
        return blocks, mma_shared_bytes(int(c), int(groups))
    return (2, ANY_SHARED_BYTES) if kind == "any" else (4, 0)


def test_kernels_keep_within_bounds(compiled: Compiled) -> None:
    for name, report in compiled.reports.items():
        assert re.findall(r"(\d+) bytes (?:stack|spill)", report) == ["0", "0", "0"], name
        assert not compiled.count(name, "STL|LDL"), name
        blocks, shared_bytes = blocks_and_shared_bytes(name, compiled.arch)
        (registers,) = re.findall(r"Used (\d+) registers", report)
        assert int(registers) * cuda.THREADS * blocks <= REGISTERS, name
        assert shared_bytes <= 48 << 10, "no more is there without opting in"
        of_driver = 1024 if compiled.arch >= 80 else 0  # in every block
        assert blocks * (shared_bytes + of_driver) <= SHARED_KB[compiled.arch] << 10, name


def test_tensor_cores_and_wide_loads_are_in_use(compiled: Compiled) -> None:
    for name in compiled.code:
        wide_loads = compiled.count(name, r"LDG\.E\.128\S*")
        if name.startswith("mma"):
            assert compiled.count(name, r"HMMA\S*") >= 4, name
            assert compiled.count(name, r"LDSM\S*") >= 4, name
            assert compiled.count(name, r"LDGSTS\S*128\S*") >= (2 if compiled.arch >= 80 else 0), name
            assert wide_loads >= 8, name
        elif name in cuda.CANDIDATES:
            assert compiled.count(name, r"HMMA\S*") >= 8, name
            assert not compiled.count(name, r"LDSM\S*"), "samples never lie in shared memory"
            assert compiled.count(name, r"LDS\.128\S*") >= 4, name
            assert wide_loads >= 16, name
        elif name.startswith("any"):
            assert wide_loads >= 5, name
        elif name.startswith("bias_act"):
            assert wide_loads >= 2, name
            assert compiled.count(name, r"STG\.E\.128\S*") >= (4 if "shuffle" in name else 1), name
        else:
            assert compiled.count(name, r"REDG?\.E\.ADD\S*") == 4, "additions whose result nobody waits for"


def loop_length(code: str) -> int:
    """The number of instructions in the longest loop of a kernel, from the disassembler's text."""
    labels: dict[str, int] = {}
    longest, instructions = 0, 0
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = instructions
        if re.search(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+\s+)?[A-Z]", line):
            instructions += 1
        back = re.search(r"BRA[^`]*`\((\.L_x_\d+)\)", line)
        if back and back[1] in labels:
            longest = max(longest, instructions - labels[back[1]])
    return longest


@pytest.mark.parametrize(("kind", "share"), [("registers", 0.85), ("half2", 0.70)])
def test_samples_in_registers_take_fewer_instructions(compiled: Compiled, kind: str, share: float) -> None:
    """In the loop, for the same pixels: a warp has twice as many of them. That says nothing about time on a card."""
    if compiled.arch < 80:
        pytest.skip("not compiled for this architecture")
    default = loop_length(compiled.code["mma_float16_float16_64_8"])
    assert 150 < default < 400
    assert loop_length(compiled.code[f"{kind}_float16_float16_64_8"]) / 2 <= share * default


class FakeCuPy:
    """A replacement for the parts of CuPy that ops/cuda.py uses, without a GPU."""

    def __init__(self, version: int = 13000, fails: bool = False, old: bool = False) -> None:
        self.fails = fails
        self.launched: list[tuple[Any, ...]] = []
        self.options: list[tuple[str, ...]] = []
        stream = type("Stream", (), {} if old else {"from_external": staticmethod(lambda stream: ("stream", stream))})
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(runtimeGetVersion=lambda: version),
            Device=nullcontext,
            Stream=stream,
            ExternalStream=lambda pointer, index: ("external", pointer, index),
        )

    def RawModule(self, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802 (CuPy's name)
        if self.fails:
            raise RuntimeError("no NVRTC")
        self.options.append(options)
        return SimpleNamespace(get_function=self.get_function)

    def get_function(self, name: str) -> Any:
        return SimpleNamespace(kernel=lambda *args, **options: self.launched.append((name, *args, options)))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the installed CuPy by another one or none, with torch for a version of CUDA."""

    def replace(cupy: FakeCuPy | None, version: str | None = "13.0", capability: tuple[int, int] = (9, 0)) -> None:
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(torch.version, "cuda", version)
        monkeypatch.setattr(cuda, "capability", lambda device: capability)
        forget()

    yield replace
    forget()


def forget() -> None:
    for function in (cuda._load, cuda._load_candidates, cuda.kernels_or_problem, cuda._warn):
        function.cache_clear()


GPUS = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("cupy", "version", "message"),
    [
        (None, "13.0", r'CuPy is not installed, so .* torchvision runs: pip install "vsedvr\[cuda13\]"$'),
        (None, "12.8", r'CuPy is not installed, so .* torchvision runs: pip install "vsedvr\[cuda12\]"$'),
        (FakeCuPy(12090), "13.0", r': pip uninstall cupy-cuda12x && pip install "vsedvr\[cuda13\]"$'),
        (FakeCuPy(13020), "12.6", r"CuPy is for CUDA 13 and torch for CUDA 12, so .*: pip uninstall cupy-cuda13x && "),
        (FakeCuPy(fails=True), "13.0", r"CuPy cannot compile the kernels \(RuntimeError: no NVRTC\), so "),
    ],
)
def test_what_is_missing_is_said_once(
    install: Any, caplog: pytest.LogCaptureFixture, cupy: FakeCuPy | None, version: str, message: str
) -> None:
    install(cupy, version)
    for gpu in GPUS * 2:
        assert not cuda.is_available(gpu)
        prepare(gpu)
    (record,) = caplog.records
    assert record.name == "vsedvr"
    assert record.levelno == logging.WARNING
    assert re.search(message, record.getMessage())


def test_no_message_where_cupy_could_not_help(install: Any, caplog: pytest.LogCaptureFixture) -> None:
    install(None, None)  # torch for another maker's GPUs, or for CPUs
    assert not cuda.is_available(GPUS[0])
    install(None)
    prepare(torch.device("cpu"))
    assert not cuda.is_available(torch.device("cpu"))
    assert not caplog.records


@pytest.mark.parametrize(("capability", "kinds"), [((6, 1), 1), ((7, 0), 1), ((7, 5), 2), ((8, 6), 3), ((12, 0), 3)])
def test_a_gpu_gets_the_kernels_that_it_can_run(install: Any, capability: tuple[int, int], kinds: int) -> None:
    install(FakeCuPy(), capability=capability)
    prepare(GPUS[0])
    assert set(cuda._load(0)) == {name for names in list(cuda.KERNELS.values())[:kinds] for name in names}


def test_candidates_are_compiled_when_one_is_launched(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCuPy()
    install(cupy)
    prepare(GPUS[0])
    assert not set(cuda._load(0)) & set(cuda.CANDIDATES)
    assert cupy.options == [cuda.OPTIONS]
    stream = SimpleNamespace(cuda_stream=1234, device_index=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    tensor: Any = SimpleTensor()
    for name in cuda.CANDIDATES:
        cuda.launch(name, (3, 2), 100, tensor, None)
    assert cupy.options == [cuda.OPTIONS, (*cuda.OPTIONS, "-DCANDIDATES")]
    assert [name for name, *_ in cupy.launched] == [f"vsedvr_{name}" for name in cuda.CANDIDATES]
    assert cupy.launched[0][3] == (0x7F0000000000, 0), "None is a null pointer"


@pytest.mark.parametrize("old", [False, True])
def test_arguments_go_as_the_kernel_reads_them(install: Any, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    cupy = FakeCuPy(old=old)
    install(cupy)
    stream = SimpleNamespace(cuda_stream=1234, device_index=0, __cuda_stream__=lambda: (0, 1234))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    tensor: Any = SimpleTensor()
    cuda.launch("any_float32_float32", (3, 2), 100, tensor, 7, 0.5)
    ((name, blocks, threads, args, options),) = cupy.launched
    assert (name, blocks, threads) == ("vsedvr_any_float32_float32", (3, 2), (256,))
    assert options == {"shared_mem": 100, "stream": ("external", 1234, 0) if old else ("stream", stream)}
    assert args == (0x7F0000000000, 7, 0.5)
    assert [type(arg) for arg in args] == [int, np.int32, np.float32]


class SimpleTensor(Tensor):
    """A tensor that claims to be on a GPU."""

    device = GPUS[0]

    def data_ptr(self) -> int:
        return 0x7F0000000000


@pytest.mark.parametrize(("writable", "in_memory"), [(True, None), (False, "1")])
def test_a_read_only_home_keeps_the_cache_in_memory(
    install: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writable: bool, in_memory: str | None
) -> None:
    environ = {"HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    install(FakeCuPy())
    prepare(GPUS[0])
    assert environ.get("CUPY_CACHE_IN_MEMORY") == in_memory


def test_a_home_without_room_for_its_cache_is_said_once(tmp_path: Path) -> None:
    """CuPy makes the folder while it is imported, and then raises OSError instead of ImportError."""
    pytest.importorskip("cupy", reason="no CuPy")
    (tmp_path / "file").touch()
    message = message_of_a_process(HOME=str(tmp_path / "file" / "home"), CUPY_CACHE_DIR=None)
    assert message.startswith("CuPy cannot be imported (NotADirectoryError: ")
    assert message.endswith("runs: set the environment variable CUPY_CACHE_DIR to a folder that you may write to\n")


@pytest.mark.parametrize(
    "error",
    ["ImportError('libnvrtc.so.13: cannot open')", "RuntimeError('no driver')", "AttributeError('core')", "SyntaxError('x')"],
)
def test_a_cupy_that_fails_while_it_is_imported_is_said_once(tmp_path: Path, error: str) -> None:
    (tmp_path / "cupy.py").write_text(f"raise {error}")
    message = message_of_a_process(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    name, text = error.rstrip(")").split("(")
    assert message.startswith(
        f"CuPy cannot be imported ({name}: {text.strip(chr(39))}), so the slower operator of torchvision runs: "
    )
    assert re.search(r'pip uninstall cupy\S* && pip install "vsedvr\[cuda\d\d\]"$', message)


def message_of_a_process(**variables: str | None) -> str:
    """What a process writes that prepares the kernels for two GPUs, and finds that they cannot be used; a single line."""
    code = """
import torch
torch.version.cuda = torch.version.cuda or "13.0"
from vsedvr.ops import cuda, prepare
for index in (0, 0, 1):
    prepare(torch.device("cuda", index))
    assert not cuda.is_available(torch.device("cuda", index))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    env = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    return run.stderr


@pytest.mark.gpu
def test_a_captured_graph_replays_the_same_frame() -> None:
    device = torch.device("cuda", 0)
    operator: Any = dcn
    prepare(device)
    assert cuda.is_available(device)
    x, weight, bias = torch.randn(1, 64, 40, 50), torch.randn(64, 64, 3, 3) / 24, torch.randn(64)
    conv_offset_output = torch.randn(1, 216, 40, 50)
    layout = torch.channels_last
    inputs: list[Any] = [t.to(device).half().contiguous(memory_format=layout) for t in (x, conv_offset_output, weight)]
    inputs.append(bias.to(device).half())
    with torch.no_grad():
        eager = operator(*inputs, 0.1)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = operator(*inputs, 0.1)
        inputs[0].copy_(inputs[0].flip(2))
        graph.replay()
        flipped = captured.clone()
        inputs[0].copy_(inputs[0].flip(2))
        graph.replay()
        assert torch.equal(captured, eager)
        inputs[0].copy_(inputs[0].flip(2))
        assert torch.equal(flipped, operator(*inputs, 0.1))


@pytest.mark.gpu
def test_launches_follow_the_current_stream() -> None:
    device = torch.device("cuda", 0)
    operator: Any = dcn
    assert cuda.is_available(device)
    tensors = torch.randn(1, 64, 200, 300), torch.randn(1, 216, 200, 300), torch.randn(64, 64, 3, 3) / 24, torch.randn(64)
    args: list[Any] = [t.to(device).half() for t in tensors]
    with torch.no_grad():
        expected = operator(*args, 0.1)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # type: ignore[no-untyped-call]
            x = args[0].clone()
            args[0].zero_()
            out = operator(x, *args[1:], 0.1)
        stream.synchronize()
    assert torch.equal(out, expected)
