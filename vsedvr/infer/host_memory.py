"""Finds out how much of the computer's memory this process may still take.

On Linux there are three limits that must each be asked for: the free memory of the machine; the control groups of the process
(containers, systemd, batch systems), which kill a process over their limit without an error; and the limits of the process
itself (`ulimit -v` and `ulimit -d`). On other systems only the free memory of the machine counts.
"""

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["free_host_bytes"]

UNUSED_ADDRESSES = 256 << 20
"""Bytes of address space that threads reserve for their stacks and heaps but mostly do not use."""


def free_host_bytes() -> int:
    """Returns how many bytes this process may still take: the least of what the machine, control groups and limits leave."""
    import psutil  # imported only here, because an engine on a GPU does not need it

    rooms = [psutil.virtual_memory().available]
    if sys.platform == "linux":
        rooms += [*control_groups(Path("/proc/self")), *process_limits(Path("/proc/self"))]
    return max(0, min(rooms))


def control_groups(process: Path) -> Iterator[int]:
    """Yields the bytes that each control group of a process leaves, from its own group to the outermost visible one.

    Cached file pages that were not read lately (inactive_file) count as free: the kernel drops them before a group is full.

    Args:
        process: the process's folder in /proc.
    """
    for folder in _groups(process):
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
        in_use = max(0, used - _inactive_file(folder))
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None:
                yield max(0, limit - in_use)


def process_limits(process: Path) -> Iterator[int]:
    """Yields the bytes that this process's own limits leave: the limit of its address space and the limit of its data.

    The address space holds everything that a process has reserved, used or not, such as libraries and mapped files. Threads
    that are yet to start will reserve more of it.

    Args:
        process: the folder of this process in /proc.
    """
    import resource

    try:
        pages = [int(field) for field in (process / "statm").read_text().split()]
    except OSError:
        return
    address_space, data = (pages[k] * resource.getpagesize() for k in (0, 5))
    for kind, used in ((resource.RLIMIT_AS, address_space + UNUSED_ADDRESSES), (resource.RLIMIT_DATA, data)):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - used)


def _groups(process: Path) -> Iterator[Path]:
    """Yields the folders of the memory control groups that a process is in, each before the groups that contain it."""
    try:
        memberships = [line.split(":", 2) for line in (process / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, group in memberships:
        for mount in mounts:
            file_system, options = mount[mount.index("-") + 1], mount[-1].split(",")
            first = file_system == "cgroup" and "memory" in options and "memory" in controllers.split(",")
            second = file_system == "cgroup2" and not controllers
            if first or second:
                yield from _folders(Path(mount[4]), PurePosixPath(mount[3]), PurePosixPath(group))


def _folders(mount_point: Path, root: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """Yields the folder of a control group and its parents, up to the mount point.

    Args:
        mount_point: the folder where the group `root` is mounted.
        root: the mounted group; in a container it is often the container's own group.
        group: the group to look up; in a container its path may be one of the machine outside.
    """
    inside = group.relative_to(root if group.is_relative_to(root) else "/")
    folder = mount_point / inside
    yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mount_point))


def _number(file: Path) -> int | None:
    """Reads the number in a file; None if there is no file, or no number in it, such as "max"."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _inactive_file(folder: Path) -> int:
    """Bytes of cached file pages not read lately in a control group and its subgroups, in cgroups of version 1 or 2."""
    try:
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0
