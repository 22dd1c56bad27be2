"""Times several scorers in turn, each in a process of its own.

In separate processes, each scorer has its own peak memory, and no library changes global settings
of another.  Taking turns makes ratios robust: a machine that slows down slows all scorers alike.
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

from benchmarks.scorers import SCORERS, Means, Task


@dataclass
class Timing:
    """One scorer over all rounds."""

    name: str
    dtype: str
    elapsed_s: list[float] = field(default_factory=list)
    means: Means = field(default_factory=list)
    peak_bytes: int = 0
    problem: str | None = None

    @property
    def median_s(self) -> float:
        """Median seconds per round."""
        return statistics.median(self.elapsed_s)

    def times_faster_than(self, other: Timing) -> float:
        """Median over rounds of the ratio of the two times within a round."""
        pairs = zip(other.elapsed_s, self.elapsed_s, strict=True)
        return statistics.median(other_s / own_s for other_s, own_s in pairs)


@dataclass(frozen=True)
class _Round:
    elapsed_s: float
    means: Means
    peak_bytes: int


def _work(name: str, task: Task, pipe: Connection) -> None:
    """Load once, then score each time the pipe says so."""
    try:
        score = SCORERS[name](task)
        score()  # a warm-up round: compiling and filling caches is not timed
        pipe.send(None)
    except BaseException as error:  # noqa: BLE001  # each peer fails in its own way
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
    """Time every (scorer, dtype) once per round; one that does not load has a `problem` instead."""
    spawn = multiprocessing.get_context("spawn")
    timings, pipes, workers = [], [], []
    for (name, dtype), task in tasks.items():
        timing = Timing(name, dtype)
        own_end, other_end = spawn.Pipe()
        worker = spawn.Process(target=_work, args=(name, task, other_end), daemon=True)
        worker.start()
        other_end.close()
        try:
            timing.problem = own_end.recv()
        except EOFError:
            timing.problem = "its process died"
        print(f"{name} {dtype}: {timing.problem or 'ready'}", file=sys.stderr)
        timings.append(timing)
        pipes.append(own_end)
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
