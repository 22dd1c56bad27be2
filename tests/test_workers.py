"""Several replicas: order, bounds, deaths, and no process left behind."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifdkit.engine.batching import Budget
from ifdkit.engine.replicas import Computed, Died, Event, Ready, Replicas
from ifdkit.engine.schedule import MAX_DEATHS_IN_A_ROW, Outcome, Unit, UnitSchedule, Unscored
from ifdkit.engine.workers import WorkerProcesses
from ifdkit.errors import ModelError
from ifdkit.records import Request
from tests.replica_fakes import DEADLY, SLOW, WRONG, FakeModel, fake_nlls, request

pytestmark = pytest.mark.long

Batches = list[list[Request]]


def batches_of(sizes: Sequence[int]) -> Batches:
    return [[request(b + 2, i) for i in range(n)] for b, n in enumerate(sizes)]


def assert_same(found: Sequence[Sequence[Outcome]], batches: Batches) -> None:
    """Every batch was computed whole, in its own composition, and is at its place."""
    assert len(found) == len(batches)
    for outcomes, batch in zip(found, batches, strict=True):
        for one, expected in zip(outcomes, fake_nlls(batch), strict=True):
            assert not isinstance(one, Unscored)
            np.testing.assert_array_equal(one, expected)


class SimulatedFleet:
    """Replicas that work in steps, in random order, and die at random."""

    def __init__(self, size: int, seed: int, *, p_death: float, deadly: frozenset[int]) -> None:
        self.size, self._draw, self._p = size, random.Random(seed), p_death
        self._deadly, self._units = deadly, [deque[Unit]() for _ in range(size)]
        self._ready = [False] * size
        self.closed = False

    def has_room(self) -> bool:
        return any(r and len(u) < 2 for r, u in zip(self._ready, self._units, strict=True))

    def start(self, unit: Unit) -> None:
        free = [i for i in range(self.size) if self._ready[i] and len(self._units[i]) < 2]
        self._units[self._draw.choice(free)].append(unit)

    def wait(self) -> list[Event]:
        able = [i for i in range(self.size) if not self._ready[i] or self._units[i]]
        return [self._step(i) for i in self._draw.sample(able, self._draw.randint(1, len(able)))]

    def _step(self, i: int) -> Event:
        units = self._units[i]
        if not self._ready[i]:
            self._ready[i] = True
            return Ready(i, Budget(tokens=1), None)
        unit = units.popleft()
        is_deadly = any(int(one.ids[-1]) in self._deadly for one in unit.requests)
        if is_deadly or self._draw.random() < self._p:
            self._ready[i], waiting = False, tuple(units)
            units.clear()
            return Died(unit, waiting, "by signal SIGKILL")
        return Computed(unit, fake_nlls(unit.requests))

    def close(self) -> None:
        self.closed = True


@given(
    sizes=st.lists(st.integers(1, 5), max_size=12),
    size=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_results_are_in_order_whatever_order_replicas_work_in(
    sizes: list[int], size: int, seed: int
) -> None:
    batches, read = batches_of(sizes), 0

    def reading() -> Iterator[list[Request]]:
        nonlocal read
        for batch in batches:
            read += 1
            yield batch

    replicas = Replicas(SimulatedFleet(size, seed, p_death=0, deadly=frozenset()))
    found: list[Sequence[Outcome]] = []
    for outcomes in replicas.stream(reading(), n_planned=9):
        assert read - len(found) <= 4 * size + 1, "batches in memory are bounded"
        found.append(outcomes)
    assert_same(found, batches)


@given(seed=st.integers(0, 10**6), size=st.integers(1, 4), n=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_lost_work_is_done_again_as_it_was(seed: int, size: int, n: int) -> None:
    """Of single Requests, so that no batch is halved: a death in three is more than twice."""
    fleet = SimulatedFleet(size, seed, p_death=0.05, deadly=frozenset())
    batches = [[request(b + 2)] for b in range(n)]
    found = list(Replicas(fleet).stream(iter(batches), n_planned=9))
    given_up = [b for b, (one,) in enumerate(found) if isinstance(one, Unscored)]
    assert len(given_up) <= 1, "three deaths of one unit have a chance of 1 in 8,000"
    kept = [b for b in range(n) if b not in given_up]
    assert_same([found[b] for b in kept], [batches[b] for b in kept])


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    size=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_deadly_request_is_given_up_and_the_others_are_scored(
    sizes: list[int], size: int, seed: int, data: st.DataObject
) -> None:
    batches = [[request(100 * b + i + 2) for i in range(n)] for b, n in enumerate(sizes)]
    everything = [int(one.ids[-1]) for batch in batches for one in batch]
    deadly = data.draw(st.sets(st.sampled_from(everything), max_size=2))
    fleet = SimulatedFleet(size, seed, p_death=0, deadly=frozenset(deadly))
    found = list(Replicas(fleet).stream(iter(batches), n_planned=9))
    for outcomes, batch in zip(found, batches, strict=True):
        unscored = {
            int(each.ids[-1])
            for one, each in zip(outcomes, batch, strict=True)
            if isinstance(one, Unscored)
        }
        assert unscored == deadly & {int(one.ids[-1]) for one in batch}
        if not unscored:
            assert_same([outcomes], [batch])


def test_a_replica_that_holds_back_all_others() -> None:
    """When its batch is finished, nothing is under way: the next batches have to be started."""

    class OneIsSlow(SimulatedFleet):
        def has_room(self) -> bool:
            return all(self._ready) and len(self._units[1]) < 2

        def start(self, unit: Unit) -> None:
            self._units[bool(self._units[0])].append(unit)

        def wait(self) -> list[Event]:
            able = [i for i in range(self.size) if not self._ready[i] or self._units[i]]
            assert able, "nothing to wait for"
            return [self._step(i) for i in (able[-1:] if all(self._ready) else able)]

    batches = batches_of([1] * 50)
    replicas = Replicas(OneIsSlow(2, 0, p_death=0, deadly=frozenset()))
    assert_same(list(replicas.stream(iter(batches), n_planned=9)), batches)


def test_a_run_in_which_everything_dies_ends() -> None:
    fleet = SimulatedFleet(2, 0, p_death=1, deadly=frozenset())
    with pytest.raises(ModelError, match=f"{MAX_DEATHS_IN_A_ROW + 1} workers died in a row"):
        list(Replicas(fleet).stream(iter(batches_of([8] * 20)), n_planned=9))


def test_an_abandoned_stream_does_not_answer_the_next_one() -> None:
    replicas = Replicas(SimulatedFleet(2, 0, p_death=0, deadly=frozenset()))
    abandoned = replicas.stream(iter(batches_of([3] * 9)), n_planned=9)
    next(abandoned)
    abandoned.close()
    batches = [[request(50 + b)] for b in range(5)]
    assert_same(list(replicas.stream(iter(batches), n_planned=9)), batches)


def test_a_replica_that_plans_otherwise_is_refused() -> None:
    class TwoKinds(SimulatedFleet):
        def wait(self) -> list[Event]:
            return [Ready(i, Budget(tokens=i), None) for i in range(2)]

    fleet = TwoKinds(2, 0, p_death=0, deadly=frozenset())
    with pytest.raises(ModelError, match="the same kind of device"):
        Replicas(fleet)
    assert fleet.closed


def test_no_batches_at_all() -> None:
    assert UnitSchedule(iter([]), max_ahead=1).results() == []
    assert UnitSchedule(iter([]), max_ahead=1).is_finished()


def assert_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(one) and not _is_zombie(one) for one in pids):
        assert time.monotonic() < deadline, "a worker outlives its driver"
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_deadly_request_in_a_real_process() -> None:
    replicas = Replicas(WorkerProcesses([FakeModel()] * 2))
    try:
        batches = [[request(2), request(3), request(DEADLY)], [request(4)]]
        first, second = replicas.stream(iter(batches), n_planned=9)
        assert_same([second], batches[1:])
        assert [isinstance(one, Unscored) for one in first] == [False, False, True]
        assert isinstance(first[2], Unscored)
        assert first[2].reason.endswith("died 3 times, the last one by signal SIGKILL")
        with pytest.raises(ModelError, match="token 9003 is wrong"):
            list(replicas.stream(iter([[request(WRONG)]]), n_planned=9))
    finally:
        replicas.close()


def test_models_that_do_not_load() -> None:
    with pytest.raises(ModelError, match="fake does not load: no such thing"):
        Replicas(WorkerProcesses([FakeModel(fails=True)]))
    with pytest.raises(ModelError, match=r"3 workers died while they loaded.*SIGSEGV"):
        Replicas(WorkerProcesses([FakeModel(dies=True)]))


_DRIVER = f"""
import sys
from ifdkit.engine.replicas import Replicas
from ifdkit.engine.workers import WorkerProcesses
from tests.replica_fakes import FakeModel, request
fleet = WorkerProcesses([FakeModel()] * 2)
replicas = Replicas(fleet)
print(*(one.process.pid for one in fleet._workers), flush=True)
try:
    for _ in replicas.stream(([request({SLOW})] for _ in range(9)), n_planned=9):
        pass
finally:
    replicas.close()
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_driver(signum: signal.Signals) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with driver:
        assert driver.stdout is not None
        pids = [int(one) for one in driver.stdout.readline().split()]
        assert all(map(psutil.pid_exists, pids))
        time.sleep(0.2)
        driver.send_signal(signum)
        driver.wait(20)
    assert_gone(pids)


def test_messages_are_not_in_the_way_of_each_other() -> None:
    """Units and answers larger than the buffer of a socket, both ways at once."""
    replicas = Replicas(WorkerProcesses([FakeModel()] * 2))
    try:
        batches = [[request(*[7] * 300_000, b + 2)] for b in range(6)]
        assert_same(list(replicas.stream(iter(batches), n_planned=9)), batches)
    finally:
        replicas.close()
