"""Finds out how many CPU cores the process may use at a time."""

import math
import os
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "usable_cores"]

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Returns how many cores the thread's affinity allows (Linux), or fewer if a container limits CPU time; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(cpu_quota(), cores))))


@cache
def cpu_quota(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float:
    """Returns the seconds of CPU time per second that Linux allows the process, as in `docker run --cpus`; inf without a limit.
    It is the smallest limit of the process's control groups and all groups around them, of version 2 (cpu.max) and version 1
    (cpu.cfs_quota_us).

    Args:
        cgroups: folder in which the control groups are mounted.
        membership: file with a line `number:controllers:path` for each hierarchy of groups that the process belongs to.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # another system
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for root in {cgroups, cgroups / controllers, cgroups / "cpu"}:
            # In a container the path may be the one outside of it, so that some of these folders do not exist
            quotas += [_quota(root.joinpath(*parts[:count])) for count in range(len(parts) + 1)]
    return min(quotas)


def _quota(folder: Path) -> float:
    """Returns the limit of one control group in seconds per second; infinity if it has none."""
    for read in (_read_version_2, _read_version_1):
        try:
            quota, period = read(folder)
            if quota.isdecimal() and int(period) > 0:  # neither "max" nor -1
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return math.inf


def _read_version_2(folder: Path) -> tuple[str, str]:
    quota, period = (folder / "cpu.max").read_text().split()
    return quota, period


def _read_version_1(folder: Path) -> tuple[str, str]:
    return (folder / "cpu.cfs_quota_us").read_text().strip(), (folder / "cpu.cfs_period_us").read_text().strip()
