"""Kills of the workers, the driver and the Ray nodes of a run at random moments.

Used by the tests and by `python -m benchmarks.faults`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine import ray_cluster, workers
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from tests.killing import Kills, kill_many, state
from tests.light_driver import light_model
from tests.zygote import Zygote

ROOT = Path(__file__).parents[1]
DATA = "data.jsonl"
READ = ReadOptions()
N_ROWS = 240
NODE_MEMORY = 80 * 2**20
"""Bytes of the object store of a Ray node."""


SHARES = {"workers": 0.62, "workers of a real model": 0.08, "drivers": 0.25, "nodes": 0.05}
"""What the kills of a distributed run are divided into.

A worker of a real model takes 3.5 CPU seconds to start, all of it for imports of torch and
transformers; the others score with a LightSpec, whose workers take 0.1.
"""


def share(name: str, kills: int) -> int:
    """How many of all kills."""
    return round(SHARES[name] * kills)


def write_rows(folder: Path) -> None:
    """A dataset of N_ROWS rows of different lengths."""
    rows = [{"instruction": f"Name colour {i}.", "output": "Green " * (1 + i % 23) + str(i)}
            for i in range(N_ROWS)]  # fmt: skip
    (folder / DATA).write_text("".join(json.dumps(row) + "\n" for row in rows))


def assert_gone(folder: Path) -> None:
    """No worker of a run in this folder outlives it."""
    deadline = time.monotonic() + 20
    while any(_is_worker(one, folder) for one in psutil.process_iter()):
        assert time.monotonic() < deadline, "a worker outlives its driver"
        time.sleep(0.02)


def _is_worker(process: psutil.Process, folder: Path) -> bool:
    try:
        return "ifdkit.engine.worker" in process.cmdline() and process.cwd() == str(folder)
    except psutil.Error:
        return False


class Killer(ABC):
    """A thread that kills replicas of the fleet that is at work."""

    def __init__(self, module: ModuleType, name: str, seed: int, pause_s: float) -> None:
        """`name`: the fleet's class in its module; `pause_s`: the longest time between attempts."""
        self._module, self._name, self._pause_s = module, name, pause_s
        self._draw, self._stopped = random.Random(seed), threading.Event()
        self.killed = 0
        self.fleet: Any = None

    @contextmanager
    def at_work(self, kills: int) -> Iterator[None]:
        """Kill this often, or until the end of the block."""
        killer, kind = self, getattr(self._module, self._name)

        class Watched(kind):  # type: ignore[misc,valid-type]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                killer.fleet = self

            def close(self) -> None:
                killer.fleet = None
                super().close()

        thread = threading.Thread(target=self._run, args=[kills])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._module, self._name, Watched)
            thread.start()
            try:
                yield
            finally:
                self._stopped.set()
                thread.join()

    def _run(self, kills: int) -> None:
        while self.killed < kills and not self._stopped.wait(self._draw.uniform(0, self._pause_s)):
            if (fleet := self.fleet) is not None:
                self.killed += self._attempt(fleet)

    @abstractmethod
    def _attempt(self, fleet: Any) -> bool:
        """Whether something was killed."""


class WorkerKiller(Killer):
    """Kills worker processes, those that load included.

    Spares what would end the run or change its bytes, as documented: the third that loads in a row,
    and the second that computes one batch, which is then halved.
    """

    def __init__(self, seed: int, *, pause_s: float) -> None:
        super().__init__(workers, "WorkerProcesses", seed, pause_s)

    def _attempt(self, fleet: Any) -> bool:
        replica = self._draw.randrange(fleet.size)
        try:
            worker = fleet._workers[replica]
            os.kill(worker.process.pid, signal.SIGSTOP)
        except (IndexError, ProcessLookupError):  # the run has just ended
            return False
        if worker.is_ready:
            is_spared = any(one.deaths for one in worker.units)
        else:
            is_spared = fleet._deaths_at_load == workers.MAX_DEATHS_AT_LOAD - 1
        os.kill(worker.process.pid, signal.SIGCONT if is_spared else signal.SIGKILL)
        while not is_spared and worker in fleet._workers:
            time.sleep(0.001)  # the driver has not noticed yet
        return not is_spared


class NodeKiller(Killer):
    """Kills the second node of a Ray cluster while an actor is on it, and adds another one."""

    def __init__(self, cluster: Any, seed: int, *, pause_s: float) -> None:
        super().__init__(ray_cluster, "RayActors", seed, pause_s)
        self._cluster = cluster
        self._node: Any = None

    @contextmanager
    def at_work(self, kills: int) -> Iterator[None]:
        """Kill this often, or until the end of the block."""
        with super().at_work(kills):
            yield
        if self._node is not None:
            self._cluster.remove_node(self._node, allow_graceful=False)

    def _attempt(self, fleet: Any) -> bool:
        if self._node is None:
            self._node = self._cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY)
        if all(one.node != self._node.node_id for one in fleet._actors):
            return False
        self._cluster.remove_node(self._node, allow_graceful=False)
        self._node = None
        return True


@contextmanager
def local_cluster() -> Iterator[Any]:
    """A Ray cluster of a head with one CPU, to which nodes are added; RAY_ADDRESS is its address.

    It notices within two seconds that a node is gone, instead of 15.
    """
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        memory = {"object_store_memory": NODE_MEMORY, "include_dashboard": False}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, **memory},
            shutdown_at_exit=False,  # its hooks cannot be set in the thread that adds nodes
        )
        patch.setenv("RAY_ADDRESS", cluster.address)
        ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def kill_replicas(settings: Settings, killer: Killer, name: str, kills: int) -> Kills:
    """Kill its share during `score`, run after run; AssertionError if the bytes differ.

    `settings` name the replicas.  Each run has as many kills as come until its end, and stores
    nothing.  The current folder has DATA.
    """
    folder, n_runs, kills = Path.cwd(), 0, share(name, kills)
    score_to_file(DATA, Path("out.jsonl"), replace(settings, backend="torch", workers=None), READ)
    expected = state(folder)
    with killer.at_work(kills):
        while killer.killed < kills:
            for path in folder.glob("out*"):
                path.unlink()
            summary = score_to_file(DATA, Path("out.jsonl"), settings, READ)
            assert summary.status_counts == {"ok": N_ROWS}
            assert state(folder) == expected
            n_runs += 1
    assert_gone(folder)
    return Kills(name, killer.killed, 0, n_runs)


def kill_workers(model: Path, kills: int) -> Kills:
    """Kill workers with a LightSpec."""
    with light_model():
        killer = WorkerKiller(kills, pause_s=0.2)
        return kill_replicas(_settings(model), killer, "workers", kills)


def kill_real_workers(model: Path, kills: int) -> Kills:
    """Kill workers that have loaded the model."""
    killer = WorkerKiller(kills, pause_s=1)
    return kill_replicas(_settings(model), killer, "workers of a real model", kills)


def kill_nodes(model: Path, kills: int) -> Kills:
    """Kill nodes of a Ray cluster, with a LightSpec."""
    with local_cluster() as cluster, light_model(batch_s=0.05):
        killer = NodeKiller(cluster, kills, pause_s=0.5)
        settings = replace(_settings(model), backend="ray")
        return kill_replicas(settings, killer, "nodes", kills)


def kill_drivers(model: Path, kills: int) -> Kills:
    """Kill `score --workers 2` with a LightSpec; what is resumed has the bytes of one process."""
    folder = Path.cwd()
    command = ["score", DATA, "-o", "out.jsonl", "-m", str(model), "--metrics", "ifd,rifd", "-q",
               "--store", "store.sqlite"]  # fmt: skip
    with Zygote(folder, program="tests.light_driver") as zygote:
        assert zygote.run(command) == 0, zygote.log
        expected = state(folder)
        done = kill_many(
            zygote, folder, [*command, "--workers", "2"], share("drivers", kills), kills
        )
    assert state(folder) == expected
    assert_gone(folder)
    return replace(done, command="drivers")


def _settings(model: Path) -> Settings:
    return Settings(model=str(model), metrics=("ifd",), store="off", workers=2)


KILLERS = (kill_workers, kill_real_workers, kill_drivers, kill_nodes)
"""One for each of SHARES. They work in the current folder, which has DATA."""
