import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cuda_runner import Runner, build
from dcn_kernels import RunAll
from vsedvr.cli import main
from vsedvr.infer import Engine, Pending
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import cuda

sys.path.append(str(Path(__file__).parent.parent))  # for `import benchmarks`; vsedvr is the one that is installed

Vspipe = Callable[..., subprocess.CompletedProcess[bytes]]

TINY = EDVRConfig(num_feat=8, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1, scale=1, num_tail_feat=8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Uses one thread, because several threads make such small networks slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Fails a test that looks up or connects to another machine. Addresses of this machine are allowed.

    Without psutil, which the tests for GPUs do without, nothing is checked.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        yield
        return
    own = {address.address.partition("%")[0] for card in psutil.net_if_addrs().values() for address in card}
    names = {"localhost", socket.gethostname(), socket.getfqdn()}
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def check(host: object) -> None:
        text = host.decode() if isinstance(host, bytes) else host
        if text and text not in own | names and not str(text).startswith(("127.", "::1")):
            raise AssertionError(f"a test asks for {text}, which is outside of this machine")

    def checked_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            check(address[0])
        connect(self, address)

    def checked_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked_connect)
        patch.setattr(socket, "getaddrinfo", checked_look_up)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Lets SIGINT raise KeyboardInterrupt here and in processes that tests start. A shell's background commands ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _own_models_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty models folder in place of the user's, also for processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSEDVR_MODELS", str(tmp_path_factory.mktemp("models_folder")))
        yield


def random_model(config: EDVRConfig = TINY) -> EDVR:
    """Makes an EDVR with offsets of a few pixels; a fresh one has no offsets and tests little."""
    torch.manual_seed(0)
    model = EDVR(config).eval()
    for name, parameter in model.named_parameters():
        if "conv_offset" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def moving_frames(num_frames: int, height: int, width: int, shift: tuple[int, int] = (1, 2)) -> list[NDArray[np.uint8]]:
    """Makes RGB frames of a smooth texture that moves by the given pixels (down, right) a frame."""
    from PIL import Image  # here: the tests for GPUs do without Pillow

    (dy, dx), steps = shift, num_frames - 1
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, ((height + steps * abs(dy)) // 6 + 2, (width + steps * abs(dx)) // 6 + 2, 3), np.uint8)
    texture = np.asarray(Image.fromarray(coarse).resize((coarse.shape[1] * 6, coarse.shape[0] * 6), Image.Resampling.BICUBIC))
    starts = [(steps * max(dy, 0) - n * dy, steps * max(dx, 0) - n * dx) for n in range(num_frames)]
    return [texture[top : top + height, left : left + width].copy() for top, left in starts]


class MemoryClip(list[NDArray[np.uint8]]):
    """A clip in memory, with the methods of clips that are read from files."""

    lost = ()

    def __init__(self, frames: Iterable[NDArray[np.uint8]], scene_starts: Iterable[int] = (0,)) -> None:
        super().__init__(frames)
        self.size: tuple[int, int] = self[0].shape[0], self[0].shape[1]
        self.starts = list(scene_starts)

    def scene_starts(self, first: int, last: int) -> list[int]:
        return [n for n in self.starts if first <= n <= last]

    def close(self) -> None:
        """Does nothing, because the frames stay in memory."""


def write_frames(folder: Path, frames: Iterable[NDArray[np.uint8]]) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for n, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{n:08}.png")


@pytest.fixture(scope="session")
def tiny_model() -> EDVR:
    return random_model()


@pytest.fixture(scope="session")
def tiny_x1(tmp_path_factory: pytest.TempPathFactory, tiny_model: EDVR) -> Path:
    """Writes a checkpoint of a small x1 network, which is fast enough for 1080p."""
    path = tmp_path_factory.mktemp("model") / "tiny_x1.pth"
    torch.save({"params": tiny_model.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model "small", exported by the command for vs-mlrt."""
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    assert main(["export", "small", str(path), "--concat"]) == 0
    return path


class Recorder(Engine):
    """Records the windows that the filter requests, and returns zeros."""

    windows: dict[int, list[int]]

    def launch(self, indices: Any, load: Any, **options: Any) -> Pending:
        Recorder.windows[indices[self.config.center]] = list(indices)
        done = torch.ones((), dtype=torch.bool)
        return Pending(torch.zeros(load(indices[0]).shape), done, lambda: None, lambda error: torch.empty(0))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Returns the windows of requested frames by frame number, without computing anything."""
    monkeypatch.setattr("vsedvr.infer.build.Engine", Recorder)
    Recorder.windows = {}
    return Recorder.windows


@pytest.fixture(scope="session")
def vspipe(tmp_path_factory: pytest.TempPathFactory) -> Vspipe:
    """Runs vspipe with the text of a script. VapourSynth's one-time configuration is kept out of the user's home."""
    home = tmp_path_factory.mktemp("vspipe")
    env = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "APPDATA": str(home)}
    bin_dir = Path(sys.executable).parent
    subprocess.run([bin_dir / "vapoursynth", "config"], env=env, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def run(script: str, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[bytes]:
        path = home / "script.vpy"
        path.write_text(script)
        return subprocess.run([bin_dir / "vspipe", *args, path, "-"], env=env, capture_output=True, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def all_kernels(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """All kernels for GPUs, on the CPU."""
    names = [name for names in cuda.KERNELS.values() for name in names]
    return build(tmp_path_factory.mktemp("kernels"), [*names, *cuda.CANDIDATES])


@pytest.fixture(params=["runner", pytest.param("gpu", marks=pytest.mark.gpu)])
def run_all(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RunAll:
    """Where the kernels for GPUs run: on the CPU, and on a GPU if there is one."""
    if request.param == "gpu":
        return RunAll(torch.device("cuda", 0), None)
    runner: Runner = request.getfixturevalue("all_kernels")
    monkeypatch.setattr(cuda, "launch", runner.launch)
    monkeypatch.setattr(cuda, "capability", lambda device: (9, 0))
    return RunAll(torch.device("cpu"), runner)
