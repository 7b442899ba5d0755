"""How much of the computer's memory this process may still take, whatever limits it.

On Linux three things do, and none of them shows in the others: what is free on the machine, the control groups that the
process is in (containers, systemd, batch systems), whose limit ends a process without any error, and the limits of the
process itself (`ulimit -v` and `ulimit -d`). Elsewhere it is what is free on the machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["free_host_bytes"]

UNUSED_ADDRESSES = 256 << 20
"""Bytes of the address space that threads reserve for their stacks and heaps, and mostly do not use."""


def free_host_bytes() -> int:
    """The least of what the machine, every control group and the process's own limits leave."""
    import psutil  # only here: with a GPU the engine does without

    rooms = [psutil.virtual_memory().available]
    if sys.platform == "linux":
        rooms += [*control_groups(Path("/proc/self")), *process_limits(Path("/proc/self"))]
    return max(0, min(rooms))


def control_groups(process: Path) -> Iterator[int]:
    """Bytes that each control group of a process leaves, from its own group up to the outermost that can be seen.

    Pages of files that were not read lately (inactive_file) count as free: the kernel drops them before a group is full.

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
    """Bytes that this process's limits of its address space and of its data leave.

    The address space is all that a process has reserved, used or not: libraries, files that are mapped, and what threads that
    are yet to start will take.

    Args:
        process: the folder in /proc of this process.
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
    """The folders of the control groups for memory that a process is in, each before those around it."""
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
    """The folder of a group and those around it, up to the mount point, where the group `root` is mounted.

    In a container that often is the container's own group, and the path of the group one of the machine outside.
    """
    inside = group.relative_to(root if group.is_relative_to(root) else "/")
    folder = mount_point / inside
    yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mount_point))


def _number(file: Path) -> int | None:
    """The number in a file; None where there is no file, or no number, as in "max"."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _inactive_file(folder: Path) -> int:
    """Bytes of a group and the groups in it; version 1 has a name of its own for that."""
    try:
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0
