"""Times several scorers in turn, each in a process of its own.

In separate processes, each scorer has its own peak memory, and no library changes global settings
of another.  Taking turns makes ratios robust: a machine that slows down slows all scorers alike.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from benchmarks.scorers import SCORERS, Means, Task
from ifdkit.engine.threads import WAIT_POLICY


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
class Round:
    """All Requests scored once."""

    elapsed_s: float
    cpu_s: float
    """Seconds that all threads together were on a core."""
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
        begin, cpu_begin = time.perf_counter(), time.process_time()
        means = score()
        elapsed_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu_begin
        pipe.send(Round(elapsed_s, cpu_s, means, _peak_bytes(task.device)))


def _peak_bytes(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Scoring:
    """A scorer in a process of its own, loaded and warm."""

    def __init__(self, name: str, task: Task, environment: Mapping[str, str | None]) -> None:
        """Start it with these environment variables; None removes one."""
        spawn = multiprocessing.get_context("spawn")
        self._own_end, other_end = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(name, task, other_end), daemon=True)
        with _environment(environment):
            self._process.start()
        other_end.close()
        self.problem: str | None
        try:
            self.problem = self._own_end.recv()
        except EOFError:
            self.problem = "its process died"
        print(f"{name} {task.dtype}: {self.problem or 'ready'}", file=sys.stderr)

    def score(self) -> Round:
        """Score all Requests once."""
        self._own_end.send(True)
        done: Round = self._own_end.recv()
        return done

    def close(self) -> None:
        """End the process."""
        self._process.terminate()


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def take_turns(tasks: Mapping[tuple[str, str], Task], rounds: int) -> list[Timing]:
    """Time every (scorer, dtype) once per round; one that does not load has a `problem` instead."""
    timings, scorings = [], []
    for (name, dtype), task in tasks.items():
        # Peers keep the defaults of torch, which ifdkit changes.
        scoring = Scoring(
            name, task, WAIT_POLICY if name == "ifdkit" else dict.fromkeys(WAIT_POLICY)
        )
        timings.append(Timing(name, dtype, problem=scoring.problem))
        scorings.append(scoring)
    for number in range(rounds):
        for timing, scoring in zip(timings, scorings, strict=True):
            if timing.problem is None:
                done = scoring.score()
                timing.elapsed_s.append(done.elapsed_s)
                timing.means, timing.peak_bytes = done.means, done.peak_bytes
                print(f"round {number + 1}: {timing.name} {timing.dtype} {done.elapsed_s:.1f} s",
                      file=sys.stderr)  # fmt: skip
    for scoring in scorings:
        scoring.close()
    return timings
