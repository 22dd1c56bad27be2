"""How many threads the forward passes use, and how idle ones wait.

This module imports torch late, because OpenMP reads the environment when it is loaded.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# Environment variables, and the values that make idle threads sleep.  By default the threads of
# OpenMP spin at each barrier.  Beside another process they then wait for a thread that has no core,
# and keep that core from it: two such processes on two cores ran at a sixth of their speed alone.
WAIT_POLICY = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def wait_passively() -> None:
    """Make idle threads of OpenMP sleep, unless the environment says otherwise.

    Has an effect only before torch is imported.
    """
    for name, value in WAIT_POLICY.items():
        os.environ.setdefault(name, value)


def use_threads(threads: int | None) -> int:
    """Set torch's number of threads, and return what it was; None: what this process may use.

    By default torch counts the cores of the machine, of which a container may have a quota.
    """
    import torch

    before = torch.get_num_threads()
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = min(before, available_threads())
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    return before


class ThreadLimit:
    """Torch's number of threads from the first use until `restore`. Imports torch when used."""

    def __init__(self, threads: int | None) -> None:
        """`threads` as in `use_threads`."""
        self.in_use: int | None = None
        """Torch's number of threads since `use`; None before."""
        self._threads = threads
        self._before: int | None = None

    def use(self) -> None:
        """Set the limit. Call it before a model is loaded."""
        if self._before is None:
            import torch

            self._before = use_threads(self._threads)
            self.in_use = torch.get_num_threads()

    def restore(self) -> None:
        """Set what was before."""
        if self._before is not None and self._before != self.in_use:
            use_threads(self._before)


def available_threads() -> int:
    """Cores that this process may use: by its affinity, and by the CPU quota of its cgroup."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_cores(_CGROUPS, _MEMBERSHIP)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_cores(root: Path, membership: Path) -> float | None:
    """The smallest CPU quota of a cgroup and those above it, in cores; None without a quota.

    `root` is where cgroups are mounted, and `membership` lists those of the process, a line each:
    `0::/path` in version 2, `4:cpu,cpuacct:/path` in version 1.
    """
    found: list[float] = []
    for line in _lines(membership):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mount = root
        elif "cpu" in controllers.split(","):
            mount = root / "cpu"
        else:
            continue
        folder = mount / path.lstrip("/")
        for one in (folder, *folder.parents):
            if (cores := _quota(one)) is not None:
                found.append(cores)
            if one == mount:
                break
    return min(found, default=None)


def _quota(folder: Path) -> float | None:
    """Microseconds of CPU per microsecond of time that one cgroup allows; None if unlimited."""
    words = " ".join(_lines(folder / "cpu.max")).split()  # version 2: `max 100000`
    if not words:
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = " ".join(line for name in files for line in _lines(folder / name)).split()
    try:
        quota_us, period_us = map(int, words)
    except ValueError:
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
