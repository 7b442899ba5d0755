import math
import os
from pathlib import Path

import pytest

from vsedvr.ops import cores


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("cpu_", "cpu.")).write_text(f"{text}\n")


def quota(cgroups: Path, membership: str) -> float:
    (cgroups / "self").write_text(membership)
    return cores.cpu_quota(cgroups, cgroups / "self")


@pytest.mark.parametrize(
    ("inner", "outer", "right"),
    [
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "400000 200000", 2),
        ("300000 100000", "100000 100000", 1),
        ("max 100000", "max 100000", math.inf),
        ("nonsense", "50000 100000", 0.5),
    ],
)
def test_version_2(tmp_path: Path, inner: str, outer: str, right: float) -> None:
    write(tmp_path / "user/filter", cpu_max=inner)
    write(tmp_path / "user", cpu_max=outer)
    assert quota(tmp_path, "0::/user/filter\n") == right


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """The container's own group is mounted as the root, and the path may be one outside of the container."""
    write(tmp_path, cpu_max="250000 100000")
    for number, path in enumerate(("/", "/../../docker/1f", "/docker/1f")):
        folder = tmp_path / str(number)
        write(folder, cpu_max="250000 100000")
        assert quota(folder, f"0::{path}\n") == 2.5


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("value", "right"), [("200000", 2), ("-1", math.inf)])
def test_version_1(tmp_path: Path, folder: str, value: str, right: float) -> None:
    write(tmp_path / folder / "docker/1f", cpu_cfs_quota_us=value, cpu_cfs_period_us="100000")
    write(tmp_path / "memory" / "docker/1f", cpu_cfs_quota_us="1", cpu_cfs_period_us="100000")
    assert quota(tmp_path, "4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n1:name=systemd:/\n") == right


def test_another_system(tmp_path: Path) -> None:
    assert cores.cpu_quota(tmp_path, tmp_path / "nowhere") == math.inf


@pytest.mark.parametrize(("allowed", "limit", "right"), [(8, 1.5, 2), (2, 100, 2), (4, math.inf, 4), (4, 0.1, 1)])
def test_the_least_of_affinity_and_quota(monkeypatch: pytest.MonkeyPatch, allowed: int, limit: float, right: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: limit)
    assert cores.usable_cores() == right


def test_systems_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1
