"""Several ways, each in a process of its own, taking turns on one machine.

A process of its own gives each way its own peak memory and keeps what a library sets globally
from the others; turns within one run make ratios that a drifting machine does not spoil.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from benchmarks.ways import WAYS, Means, Task


@dataclass
class Timing:
    """One way over all rounds."""

    name: str
    dtype: str
    elapsed_s: list[float] = field(default_factory=list)
    means: Means = field(default_factory=list)
    peak_bytes: int = 0
    problem: str | None = None

    @property
    def median_s(self) -> float:
        """Seconds a round."""
        return statistics.median(self.elapsed_s)

    def times_faster_than(self, other: Timing) -> float:
        """The median over rounds of the ratio within a round."""
        pairs = zip(other.elapsed_s, self.elapsed_s, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


@dataclass(frozen=True)
class _Round:
    elapsed_s: float
    means: Means
    peak_bytes: int


def _work(name: str, task: Task, pipe: Connection) -> None:
    """Load once, then score whenever asked to."""
    try:
        score = WAYS[name](task)
        score()  # what is done once, such as compiling and filling caches, does not count
        pipe.send(None)
    except BaseException as error:  # noqa: BLE001  # a peer fails in its own way, and is listed
        lines = str(error).strip().splitlines()
        pipe.send(f"{type(error).__name__}: {lines[0] if lines else ''}")
        return
    while pipe.recv():
        begin = time.perf_counter()
        means = score()
        pipe.send(_Round(time.perf_counter() - begin, means, _peak_bytes(task.device)))


def _peak_bytes(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def take_turns(tasks: Mapping[tuple[str, str], Task], rounds: int) -> list[Timing]:
    """Every (way, dtype) once a round. A way that cannot be loaded tells its problem instead."""
    spawn = multiprocessing.get_context("spawn")
    timings, pipes, workers = [], [], []
    for (name, dtype), task in tasks.items():
        timing = Timing(name, dtype)
        ours, theirs = spawn.Pipe()
        worker = spawn.Process(target=_work, args=(name, task, theirs), daemon=True)
        worker.start()
        theirs.close()
        try:
            timing.problem = ours.recv()
        except EOFError:
            timing.problem = "its process died"
        print(f"{name} {dtype}: {timing.problem or 'ready'}", file=sys.stderr)
        timings.append(timing)
        pipes.append(ours)
        workers.append(worker)
    for number in range(rounds):
        for timing, pipe in zip(timings, pipes, strict=True):
            if timing.problem is None:
                pipe.send(True)
                done = pipe.recv()
                timing.elapsed_s.append(done.elapsed_s)
                timing.means, timing.peak_bytes = done.means, done.peak_bytes
                print(f"round {number + 1}: {timing.name} {timing.dtype} {done.elapsed_s:.1f} s",
                      file=sys.stderr)  # fmt: skip
    for worker in workers:
        worker.terminate()
    return timings
