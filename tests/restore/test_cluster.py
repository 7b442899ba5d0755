"""Several processes and machines, with real worker processes: what comes out is what one process makes.

A path such as /proc/self/cwd/in.mkv means another file to each process: so machines that do not see each other's files are
played by processes in folders of their own.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client, Future

from films import VFR, make_film, read_film, video_packets
from vsedvr.restore import Status, cluster, restore
from vsedvr.restore.settings import RestoreSettings, Workers, device_indices

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self")
OWN = Path("/proc/self/cwd")
"""The working folder of a process."""


def go(source: Path, output: Path, model: Path, **settings: object) -> None:
    settings = {"device": "cpu", "codec": "ffv1", "segment_seconds": 0.25, **settings}
    restore(source, output, model=model, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "in.mkv", VFR, sound="aac")


@pytest.fixture(scope="module")
def expected(film: Path, tiny_x1: Path) -> list[tuple[int | None, int | None, bytes]]:
    """Returns times and contents of the film that a single process makes; FFV1's bits depend only on the frames."""
    go(film, film.with_name("one.mkv"), tiny_x1)
    return video_packets(film.with_name("one.mkv"))


def worker_processes() -> list[psutil.Process]:
    """Returns the worker processes that this process has started."""
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """Starts a scheduler as people do, and returns its address."""
    file = tmp_path / "scheduler.json"
    command = ["dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with running(command, tmp_path) as process:
        wait_for(process, lambda: file.exists() and file.read_text().endswith("}"))
        yield json.loads(file.read_text())["address"]


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a worker in a folder, which joins the scheduler at the address."""
    folder.mkdir(exist_ok=True)
    command = ["dask", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
    with Client(address, set_as_default=False) as client, running(command, folder) as process:
        before = set(client.scheduler_info()["workers"])
        wait_for(process, lambda: bool(set(client.scheduler_info()["workers"]) - before))
        yield process


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    while not condition():
        try:
            raise AssertionError(f"it ended with {process.wait(timeout=0.1)}")
        except subprocess.TimeoutExpired:
            continue


def test_two_processes_of_which_one_is_killed_make_what_one_process_makes(
    tmp_path: Path, film: Path, tiny_x1: Path, expected: object
) -> None:
    killed: list[int] = []
    seen: list[int] = []

    def kill_one(status: Status) -> None:
        if status.stage == "restoring":
            seen.append(status.done)
        if status.done >= 6 and not killed:
            process = worker_processes()[0]
            killed.append(process.pid)
            process.kill()

    go(film, tmp_path / "out.mkv", tiny_x1, jobs=2, on_progress=kill_one)
    assert killed
    assert (seen[0], seen[-1]) == (0, 24)
    assert video_packets(tmp_path / "out.mkv") == expected
    assert read_film(tmp_path / "out.mkv").packets == read_film(film).packets
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]
    assert worker_processes() == []


def test_a_segment_over_which_two_workers_die_is_named_and_the_others_are_kept(
    tmp_path: Path, film: Path, tiny_x1: Path
) -> None:
    script = tmp_path / "deadly.vpy"
    script.write_text(f"""
import multiprocessing, os, signal
import vapoursynth as vs

def kill(n, f):
    if n == 23 and multiprocessing.parent_process():
        os.kill(os.getpid(), signal.SIGKILL)
    return f

clip = vs.core.bs.VideoSource({str(film)!r}, cachemode=0, showprogress=False).std.AssumeFPS(fpsnum=25)
# without cuts by its props, so that no frame of another segment is judged by frame 23
clip.std.ModifyFrame(clip, kill).std.SetFrameProps(_SceneChangePrev=0, _SceneChangeNext=0).set_output()
""")
    with pytest.raises(
        ChildProcessError, match=r"segment 3 \(frames 18 to 23\) is given up: 2 workers died over it, .*goes on"
    ):
        go(script, tmp_path / "out.mkv", tiny_x1, jobs=2, matrix="601")
    assert {"job.json", "000000.mkv"} <= {path.name for path in (tmp_path / "out.mkv.parts").iterdir()}
    assert worker_processes() == []


def test_a_worker_that_joins_late_goes_on_when_the_first_is_killed(
    tmp_path: Path, film: Path, tiny_x1: Path, scheduler: str, expected: object
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(worker(scheduler, tmp_path / "first"))

        def replace_the_first(status: Status) -> None:
            if status.done >= 6 and first.poll() is None:
                stack.enter_context(worker(scheduler, tmp_path / "second"))
                first.kill()
                first.wait()

        go(film, tmp_path / "out.mkv", tiny_x1, cluster=scheduler, on_progress=replace_the_first)
    assert video_packets(tmp_path / "out.mkv") == expected


def test_without_a_worker_it_says_that_it_waits_and_goes_on_with_the_next(
    tmp_path: Path, film: Path, tiny_x1: Path, scheduler: str, expected: object
) -> None:
    stages: list[str] = []
    with ExitStack() as stack:
        first = stack.enter_context(worker(scheduler, tmp_path / "first"))

        def kill_the_only_one(status: Status) -> None:
            stages.append(status.stage)
            if status.done >= 6 and first.poll() is None:
                first.kill()
                first.wait()
            if status.stage == "waiting for a worker" and stages.count(status.stage) == 1:
                assert 6 <= status.done < status.frames == 24
                stack.enter_context(worker(scheduler, tmp_path / "second"))

        go(film, tmp_path / "out.mkv", tiny_x1, cluster=scheduler, on_progress=kill_the_only_one)
    assert list(dict.fromkeys(stages)) == ["reading", "restoring", "waiting for a worker", "joining"]
    assert stages[-2] == "restoring"
    assert video_packets(tmp_path / "out.mkv") == expected


def test_a_worker_that_dies_with_its_result_is_replaced_by_one_that_joins_then(
    tmp_path: Path, film: Path, tiny_x1: Path, scheduler: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Future.result
    with ExitStack() as stack:
        first = stack.enter_context(worker(scheduler, tmp_path / "first"))

        def fetch_too_late(future: Future[object], timeout: float | None = None) -> object:
            if first.poll() is None:
                stack.enter_context(worker(scheduler, tmp_path / "second"))
                first.kill()
                first.wait()
            return fetch(future, timeout)

        monkeypatch.setattr(Future, "result", fetch_too_late)
        go(film, tmp_path / "out.mkv", tiny_x1, cluster=scheduler)
    assert video_packets(tmp_path / "out.mkv") == expected


@linux
def test_what_workers_do_not_see_is_sent_and_comes_back(
    tmp_path: Path, film: Path, tiny_x1: Path, scheduler: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "in.mkv").write_bytes(film.read_bytes())
    (here / "model.pth").write_bytes(tiny_x1.read_bytes())
    monkeypatch.chdir(here)
    with worker(scheduler, there):
        with pytest.raises(ValueError, match=r"worker tcp://127\.0\.0\.1:\d+: it does not see the input .*in\.mkv.*--ship"):
            go(OWN / "in.mkv", OWN / "out.mkv", OWN / "model.pth", cluster=scheduler)
        (there / "in.mkv").write_bytes(b"another film")
        with pytest.raises(ValueError, match=r"worker tcp.*: what it sees at .*in\.mkv is not the input"):
            go(OWN / "in.mkv", OWN / "out.mkv", OWN / "model.pth", cluster=scheduler)
        (there / "in.mkv").write_bytes(film.read_bytes())
        with pytest.raises(ValueError, match=r"worker tcp.*: it does not see the model .*model\.pth.*--ship"):
            go(OWN / "in.mkv", OWN / "out.mkv", OWN / "model.pth", cluster=scheduler)
        (there / "in.mkv").unlink()
        stages: list[str] = []
        go(
            OWN / "in.mkv",
            OWN / "out.mkv",
            OWN / "model.pth",
            cluster=scheduler,
            ship=True,
            on_progress=lambda status: stages.append(status.stage),
        )
        assert list(dict.fromkeys(stages)) == ["reading", "sending", "restoring", "joining"]
        assert video_packets(here / "out.mkv") == expected
        assert not list(there.rglob("in.mkv"))
        script = tmp_path / "film.vpy"
        script.write_text(f"import vapoursynth as vs\nvs.core.bs.VideoSource({str(film)!r}, showprogress=False).set_output()")
        with pytest.raises(ValueError, match=r"film\.vpy is a script, .* it cannot be sent"):
            go(script, tmp_path / "out.mkv", tiny_x1, cluster=scheduler, ship=True, matrix="601")


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(
    tmp_path: Path, film: Path, tiny_x1: Path, expected: object
) -> None:
    line = f"restore {film} {tmp_path / 'out.mkv'} --model {tiny_x1} --device cpu --codec ffv1 --segment-seconds 0.25 --jobs 2"
    command = [sys.executable, "-m", "vsedvr", *line.split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for text in process.stderr:
            if text.startswith("restoring: "):
                break
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "The same command goes on" in rest
    assert "Traceback" not in rest, rest
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not list((tmp_path / "out.mkv.parts").glob(".cluster*"))
    go(film, tmp_path / "out.mkv", tiny_x1)
    assert video_packets(tmp_path / "out.mkv") == expected


def test_a_cluster_that_is_not_there_is_named(
    tmp_path: Path, film: Path, tiny_x1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.5)
    with pytest.raises(ConnectionError, match=r"no cluster answers at tcp://127\.0\.0\.1:1; `dask scheduler` starts one"):
        go(film, tmp_path / "out.mkv", tiny_x1, cluster="tcp://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
        ({"jobs": 2, "cluster": "tcp://host:1"}, "give jobs or cluster, not both"),
        ({"ship": True}, "ship is for a cluster"),
    ],
)
def test_workers_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workers(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["0,0", "cpu,0", "0,", "0,x"])
def test_devices_that_cannot_be_are_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device must"):
        RestoreSettings(device=device)


def test_several_devices_have_a_process_each() -> None:
    assert device_indices("0, cuda:2") == [0, 2]
    assert Workers().local(2) == 2
    assert Workers(jobs=4).local(2) == 4
    assert Workers(cluster="tcp://host:1").local(1) == 0
