"""Memory limits of a process, read from folders that look like Linux's, and under a real limit."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from vsedvr.infer import host_memory

UNLIMITED = 9223372036854771712
"""Value that control groups of version 1 have if there is no limit."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def v1(limit: int, used: int, **stat: int) -> dict[str, str]:
    fields = {"cache": 7, "inactive_file": 1, **stat}
    text = "".join(f"{name} {value}\n" for name, value in fields.items())
    return {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{used}\n", "memory.stat": text}


def v2(limit: int | str, used: int, high: int | str = "max", inactive_file: int = 0) -> dict[str, str]:
    stat = f"anon 123\nfile 456\ninactive_file {inactive_file}\nactive_file 789\n"
    return {"memory.max": f"{limit}\n", "memory.high": f"{high}\n", "memory.current": f"{used}\n", "memory.stat": stat}


class Machine:
    """Folders that look like a process's folder in /proc and the mounted control groups."""

    def __init__(self, folder: Path) -> None:
        self.process, self.mounted = folder / "proc", folder / "cgroup"
        self.process.mkdir()
        self.mounts = ["22 1 0:20 / / rw - ext4 /dev/sda rw", "31 23 0:28 / /sys/fs rw,relatime - tmpfs tmpfs rw,mode=755"]
        self.memberships: list[str] = []

    def mount(self, name: str, file_system: str, options: str, root: str = "/") -> None:
        (self.mounted / name).mkdir(parents=True, exist_ok=True)
        self.mounts.append(f"40 31 0:30 {root} {self.mounted / name} rw shared:9 - {file_system} {file_system} rw,{options}")

    def group(self, path: str, files: dict[str, str]) -> None:
        (self.mounted / path).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.mounted / path / name).write_text(text)

    def left(self) -> list[int]:
        (self.process / "mountinfo").write_text("".join(f"{line}\n" for line in self.mounts))
        (self.process / "cgroup").write_text("".join(f"{line}\n" for line in self.memberships))
        return list(host_memory.control_groups(self.process))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestVersion2:
    @pytest.fixture(autouse=True)
    def _mount(self, machine: Machine) -> None:
        machine.mount("", "cgroup2", "nsdelegate,memory_recursiveprot")

    @pytest.mark.parametrize(
        ("files", "left"),
        [
            (v2(1000, 300), [700]),
            (v2(1000, 300, high=800), [700, 500]),
            (v2("max", 300, high=800), [500]),
            (v2("max", 300), []),
            (v2(1000, 300, inactive_file=250), [950]),
            (v2(1000, 300, inactive_file=400), [1000]),
            (v2(1000, 0), [1000]),
            (v2(1000, 1200), [0]),
            ({"memory.max": "1000\n"}, [1000]),
            (v2(1000, 300) | {"memory.stat": "not in pairs at all\n"}, [700]),
            (v2(1000, 300) | {"memory.stat": "inactive_file many\n"}, [700]),
            (v2(1000, 300) | {"memory.max": ""}, []),
            ({}, []),
        ],
    )
    def test_limit_less_what_is_in_use(self, machine: Machine, files: dict[str, str], left: list[int]) -> None:
        machine.memberships = ["0::/app.slice"]
        machine.group("app.slice", files)
        assert machine.left() == left

    def test_all_groups_around_count(self, machine: Machine) -> None:
        machine.memberships = ["0::/user.slice/user-1000.slice/app.scope"]
        machine.group("user.slice/user-1000.slice/app.scope", v2(4000, 100))
        machine.group("user.slice/user-1000.slice", v2("max", 200))
        machine.group("user.slice", v2(1000, 300))
        machine.group("system.slice", v2(10, 9))
        assert machine.left() == [3900, 700]

    def test_a_container_that_sees_its_own_group_as_the_outermost(self, machine: Machine) -> None:
        machine.memberships = ["0::/"]
        machine.group("", v2(1000, 300))
        assert machine.left() == [700]

    def test_a_group_outside_of_what_is_seen(self, machine: Machine) -> None:
        machine.memberships = ["0::/../other.scope"]
        machine.group("", v2(1000, 300))
        assert min(machine.left()) == 700


class TestVersion1:
    @pytest.fixture(autouse=True)
    def _mount(self, machine: Machine) -> None:
        machine.mount("cpu", "cgroup", "cpu,cpuacct")
        machine.mount("unified", "cgroup2", "nsdelegate")
        machine.group("cpu/job", v1(10, 9))

    @pytest.mark.parametrize(
        ("files", "left"),
        [
            (v1(1000, 300), 701),
            (v1(1000, 300, total_inactive_file=250), 950),
            (v1(1000, 1200), 0),
            (v1(UNLIMITED, 300), UNLIMITED - 299),
        ],
    )
    @pytest.mark.parametrize("controllers", ["memory", "hugetlb,memory"])
    def test_limit_less_what_is_in_use(self, machine: Machine, files: dict[str, str], left: int, controllers: str) -> None:
        machine.mount("memory", "cgroup", controllers)
        machine.memberships = ["9:name=systemd:/job", "5:cpu,cpuacct:/job", f"4:{controllers}:/job", "0::/job"]
        machine.group("memory/job", files)
        assert machine.left() == [left]

    def test_all_groups_around_count(self, machine: Machine) -> None:
        machine.mount("memory", "cgroup", "memory")
        machine.memberships = ["4:memory:/slurm/job_1/step_0", "0::/"]
        machine.group("memory", v1(UNLIMITED, 5000))
        machine.group("memory/slurm/job_1", v1(1000, 300))
        machine.group("memory/slurm/job_1/step_0", v1(2000, 200))
        assert sorted(machine.left()) == [701, 1801, UNLIMITED - 4999]

    @pytest.mark.parametrize("root", ["/docker/4f2a", "/"])
    @pytest.mark.parametrize("inner", ["", "/worker"])
    def test_a_container_whose_group_has_a_path_of_the_machine_outside(self, machine: Machine, root: str, inner: str) -> None:
        """Only the container's own group is mounted, whether the table of mounts says so or not."""
        machine.mount("memory", "cgroup", "memory", root)
        machine.memberships = [f"4:memory:/docker/4f2a{inner}"]
        machine.group("memory", v1(1000, 300))
        if root != "/" and inner:
            machine.group("memory/worker", v1(500, 200))
        assert min(machine.left()) == (301 if root != "/" and inner else 701)

    def test_a_name_that_begins_like_the_container_is_another(self, machine: Machine) -> None:
        machine.mount("memory", "cgroup", "memory", "/docker/4f")
        machine.memberships = ["4:memory:/docker/4f2a"]
        machine.group("memory", v1(1000, 300))
        machine.group("memory/2a", v1(10, 9))
        assert machine.left() == [701]


def test_without_control_groups(machine: Machine, tmp_path: Path) -> None:
    assert machine.left() == []
    assert list(host_memory.control_groups(tmp_path / "nothing")) == []
    assert list(host_memory.process_limits(tmp_path / "nothing")) == []


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=100, available=10))


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize(
    ("groups", "limits", "least"), [([5, 3], [4], 3), ([], [2], 2), ([0], [], 0), ([UNLIMITED], [], 10), ([], [11, 12], 10)]
)
def test_the_least_counts(monkeypatch: pytest.MonkeyPatch, groups: list[int], limits: list[int], least: int) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(host_memory, "control_groups", lambda process: iter(groups))
    monkeypatch.setattr(host_memory, "process_limits", lambda process: iter(limits))
    assert host_memory.free_host_bytes() == least


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_what_the_machine_has_free_counts(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(host_memory, "control_groups", lambda process: iter([1]))
    monkeypatch.setattr(host_memory, "process_limits", lambda process: iter([1]))
    assert host_memory.free_host_bytes() == 10


@linux
@pytest.mark.parametrize(("kind", "reserve"), [("RLIMIT_AS", host_memory.UNUSED_ADDRESSES), ("RLIMIT_DATA", 0)])
def test_a_limit_of_the_process_is_what_can_still_be_allocated(kind: str, reserve: int) -> None:
    code = f"""
import mmap, resource
from pathlib import Path
from vsedvr.infer import host_memory
left = lambda: list(host_memory.process_limits(Path("/proc/self")))
assert left() == []
fields = [int(field) for field in Path("/proc/self/statm").read_text().split()]
used = fields[0 if "{kind}" == "RLIMIT_AS" else 5] * resource.getpagesize()
resource.setrlimit(resource.{kind}, (used + {reserve} + (200 << 20), resource.RLIM_INFINITY))
(before,) = left()
assert 190 << 20 < before <= 200 << 20, before
block = mmap.mmap(-1, 150 << 20, mmap.MAP_PRIVATE)
(after,) = left()
assert 40 << 20 < after <= 50 << 20, after
resource.setrlimit(resource.{kind}, (used - (1 << 20), resource.RLIM_INFINITY))
assert left() == [0]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@linux
def test_under_a_limit_of_the_address_space_the_first_try_succeeds() -> None:
    """The tiles are chosen for the limit; the whole picture would not fit."""
    code = """
import logging, resource, torch
from dataclasses import replace
from pathlib import Path
from conftest import TINY, random_model
from vsedvr.infer import Tiling, build_engine

class Warned(Exception):
    pass

class Raise(logging.Handler):
    def emit(self, record):
        raise Warned(record.getMessage())

logging.getLogger("vsedvr").addHandler(Raise(logging.WARNING))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (540 << 20), resource.RLIM_INFINITY))
frame = torch.full((3, 1080, 1920), 0.5)
engine = build_engine(random_model(), torch.device("cpu"), torch.float32, (1080, 1920))
assert len(engine.tiling.tiles) > 1
assert engine.restore(range(5), lambda i: frame).shape == frame.shape
engine.workspace = replace(engine.workspace, tiling=Tiling.whole(1080, 1920, TINY))
try:
    engine.restore(range(5, 10), lambda i: frame)
except Warned as warning:
    assert "out of memory" in str(warning)
else:
    raise AssertionError("the limit is too high for this test")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, cwd=Path(__file__).parents[1])
