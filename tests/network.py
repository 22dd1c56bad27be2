"""Two machines with a network between them, as far as Ray can tell: network namespaces.

Used by the tests and by `python -m benchmarks.faults`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.killing_replicas import DATA, N_ROWS, NODE_MEMORY, ROOT
from tests.light_driver import BATCH_S

ADDRESSES = ("10.99.0.1", "10.99.0.2")
PORT = 6380
_PYTHON = (sys.executable, "-m")
_START = (*_PYTHON, "ray.scripts.scripts", "start", "--num-cpus", "1",
          "--object-store-memory", str(NODE_MEMORY))  # fmt: skip


def why_not() -> str | None:
    """Why there can be no two machines here; None if there can."""
    if shutil.which("ip") is None:
        return "needs `ip`, of the package iproute2"
    try:
        with TwoMachines():
            return None
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"


class TwoMachines:
    """Two network namespaces joined by a link; what runs in them ends with the block."""

    def __enter__(self) -> Self:
        self._names = [f"ifdkit{os.getpid()}-{i}" for i in range(2)]
        try:
            for name in self._names:
                _ip("netns", "add", name)
            first, second = self._names
            _ip("link", "add", "eth0", "netns", first, "type", "veth",
                "peer", "name", "eth0", "netns", second)  # fmt: skip
            for name, address in zip(self._names, ADDRESSES, strict=True):
                _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine, name in enumerate(self._names):
            for process in self.processes(machine):
                process.kill()
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def start(self, machine: int, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on one of the machines."""
        inside = ["ip", "netns", "exec", self._names[machine], *command]
        return subprocess.Popen(inside, text=True, stderr=subprocess.PIPE, **options)

    def processes(self, machine: int) -> list[psutil.Process]:
        """What runs on one of the machines."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._names[machine]], capture_output=True, text=True
        )
        found = []
        for pid in listed.stdout.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def set_link(self, state: str) -> None:
        """`down` or `up`."""
        _ip("-n", self._names[0], "link", "set", "eth0", state)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def score_across_cut(folder: Path, model: Path, cut_s: float) -> list[str]:
    """Score DATA on two Ray nodes, and cut the network to one while it computes.

    The lines that the run prints about the cluster.  AssertionError if the bytes differ from those
    of one process.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    score = [*_PYTHON, "tests.light_driver", "score", DATA, "-m", str(model), "--metrics", "ifd",
             "--store", "off"]  # fmt: skip
    subprocess.run([*score, "-q", "-o", "one.jsonl"], check=True, cwd=folder, env=environment)
    # The node that is left does not finish before the other one is back.
    environment[BATCH_S] = str(4 * cut_s / N_ROWS)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short_path,
        TwoMachines() as machines,
    ):
        head = f"{ADDRESSES[0]}:{PORT}"
        options = (
            ("--head", "--port", str(PORT), "--include-dashboard", "false",
             "--temp-dir", short_path),
            ("--address", head),
        )  # fmt: skip
        for machine, more in enumerate(options):
            start = [*_START, "--node-ip-address", ADDRESSES[machine], *more]
            begun = machines.start(machine, start, env=environment, stdout=subprocess.DEVNULL)
            _, said = begun.communicate(timeout=120)
            assert begun.returncode == 0, said
        on_ray = [*score, "-o", "two.jsonl", "--backend", "ray", "--ray-address", head]
        run = machines.start(0, on_ray, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        while not any(_is_computing(one) for one in machines.processes(1)):
            assert run.poll() is None, run.communicate()
            time.sleep(0.02)
        machines.set_link("down")
        time.sleep(cut_s)
        assert run.poll() is None, "it ended during the cut"
        machines.set_link("up")
        _, said = run.communicate(timeout=20 * cut_s)
    assert run.returncode == 0, said
    assert (folder / "two.jsonl").read_bytes() == (folder / "one.jsonl").read_bytes()
    return [line for line in said.splitlines() if "Ray" in line]


def _is_computing(process: psutil.Process) -> bool:
    try:
        return "ReplicaActor.nll" in " ".join(process.cmdline())
    except psutil.Error:
        return False
