"""How many cores this process may use: its affinity, cut to the CPU quota of its control groups."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: its affinity, cut to the CPU quota of its control groups; not the host's count."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    quota = cpu_quota(root)
    # Rounded down: a thread that the quota does not pay for is stopped in the middle of a parallel loop.
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota, in cores, of this process's control group and those above it (v2 and v1); None: none."""
    quotas: list[float] = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
        else:
            continue
        for mount in mounts:
            # In a container the path is often the host's and not there: the mount itself is then the own group.
            own = mount / path.lstrip("/")
            groups = [own, *(parent for parent in own.parents if parent == mount or mount in parent.parents)]
            quotas += [quota for group in {mount, *groups} if (quota := _group_quota(group)) is not None]
    return min(quotas, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _group_quota(group: Path) -> float | None:
    """The CPU quota of one control group in cores: v2 ``cpu.max``, else v1 ``cpu.cfs_*``."""
    try:
        unified = _lines(group / "cpu.max")
        if unified:
            quota, period = unified[0].split()
        else:
            quota, period = _lines(group / "cpu.cfs_quota_us")[0], _lines(group / "cpu.cfs_period_us")[0]
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (IndexError, ValueError):  # no limit is written "max", or the files are not there
        return None
