"""`--workers N`: replicas in processes of this machine.

Each process has one end of a socket, over which it gets a pickled Loadable and then units.  A
process that dies is replaced.  If the driver ends, even by SIGKILL, the processes end too.
"""

from __future__ import annotations

import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from ifdkit.engine.backends import Loadable
from ifdkit.engine.programs import can_start_programs, program_environment, start_program
from ifdkit.engine.replicas import UNITS_PER_REPLICA, Computed, Died, Event, Ready
from ifdkit.engine.schedule import Unit
from ifdkit.errors import IfdkitError, ModelError, UsageError

MAX_DEATHS_AT_LOAD = 3
"""Processes in a row that may die before they have loaded the model."""


def threads_per_worker(workers: int) -> int:
    """Threads that each of several workers gets on a CPU: its part of those of this process."""
    import torch

    return max(1, torch.get_num_threads() // workers)


@dataclass(eq=False, slots=True)
class _Worker:
    """A process, and what it was given."""

    replica: int
    process: subprocess.Popen[bytes]
    connection: Connection
    units: deque[Unit] = field(default_factory=deque)
    """Oldest first: that one is being computed."""
    is_ready: bool = False


class WorkerProcesses:
    """A Fleet of processes on this machine."""

    def __init__(self, loadables: Sequence[Loadable], *, threads: int | None = None) -> None:
        """Start one process for each Loadable.

        `threads` of torch in each; OMP_NUM_THREADS takes precedence.  Raises UsageError on systems
        without the means.
        """
        if not can_start_programs():
            raise UsageError(
                "--workers is not available on this system: it needs POSIX processes and"
                " a Python to start"
            )
        self._loadables = list(loadables)
        self._environment = program_environment()
        if threads is not None:
            self._environment.setdefault("OMP_NUM_THREADS", str(threads))
        self._deaths_at_load = 0
        self._workers: list[_Worker] = []
        try:
            for replica in range(len(self._loadables)):
                self._workers.append(self._begin(replica))
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Number of replicas."""
        return len(self._loadables)

    def has_room(self) -> bool:
        """Whether a replica that is ready can take one more unit."""
        return any(one.is_ready and len(one.units) < UNITS_PER_REPLICA for one in self._workers)

    def start(self, unit: Unit) -> None:
        """Give a unit to the replica with the least to do."""
        worker = min((one for one in self._workers if one.is_ready), key=lambda one: len(one.units))
        worker.units.append(unit)
        with suppress(OSError):  # it has died, which `wait` will see
            worker.connection.send(list(unit.requests))

    def wait(self) -> list[Event]:
        """What happened, at least one event. Raises what a replica raised, such as ModelError."""
        events: list[Event] = []
        by_connection: Mapping[Any, _Worker] = {one.connection: one for one in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]
            try:
                answer = worker.connection.recv()
            except Exception:  # an end of file, or half a message
                events.append(self._replace(worker))
                continue
            events.append(self._understand(worker, answer))
        return events

    def close(self) -> None:
        """End all processes at once: nothing they have is lost, since the driver stores it."""
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.wait()
        self._workers = []

    def _begin(self, replica: int) -> _Worker:
        worker = _Worker(replica, *start_program("ifdkit.engine.worker", self._environment))
        with suppress(OSError):
            worker.connection.send(self._loadables[replica])
        return worker

    def _understand(self, worker: _Worker, answer: Any) -> Event:
        if isinstance(answer, IfdkitError):
            raise answer
        if worker.is_ready:
            return Computed(worker.units.popleft(), answer)
        worker.is_ready, self._deaths_at_load = True, 0
        budget, problem, messages = answer
        return Ready(worker.replica, budget, problem, tuple(messages))

    def _replace(self, worker: _Worker) -> Died:
        """Start another process in place of one that has ended."""
        worker.connection.close()
        worker.process.kill()  # it may have closed its connection without ending
        cause = _cause(worker.process.wait())
        if not worker.is_ready:
            self._deaths_at_load += 1
            if self._deaths_at_load >= MAX_DEATHS_AT_LOAD:
                raise ModelError(
                    f"{self._deaths_at_load} workers died while they loaded the model, the last one"
                    f" {cause}: try fewer --workers or a smaller model"
                )
        self._workers[worker.replica] = self._begin(worker.replica)
        computing = worker.units.popleft() if worker.units else None
        return Died(computing, tuple(worker.units), cause)


def _cause(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by signal {signal.Signals(-code).name}"
    return f"by signal {-code}"
