"""Several replicas as one Backend: the loop that is the same for worker processes and Ray actors.

A `Fleet` starts replicas, gives them units and reports what becomes of them.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ifdkit.engine.batching import Budget
from ifdkit.engine.schedule import Outcome, Unit, UnitSchedule, Unscored
from ifdkit.errors import ModelError
from ifdkit.records import NLL, Request

log = logging.getLogger(__name__)

UNITS_PER_REPLICA = 2
"""Units that a replica has at once: one that it computes, and one that waits for it there."""
BATCHES_PER_REPLICA = 4
"""Batches in memory for each replica: a slow one holds back the results of the others so far."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A replica has loaded its model."""

    replica: int
    budget: Budget
    float32_problem: str | None
    messages: tuple[tuple[int, str], ...] = ()
    """Level and text of what was logged while it loaded."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A replica has computed a unit."""

    unit: Unit
    nlls: list[NLL]


@dataclass(frozen=True, slots=True)
class Died:
    """A replica is gone; another is being started in its place."""

    computing: Unit | None
    """What it was computing."""
    waiting: tuple[Unit, ...]
    """What it had not begun."""
    cause: str


Event = Ready | Computed | Died


class Fleet(Protocol):
    """Replicas that compute units at the same time."""

    @property
    def size(self) -> int:
        """Number of replicas."""
        ...

    def has_room(self) -> bool:
        """Whether a replica that is ready can take one more unit."""
        ...

    def start(self, unit: Unit) -> None:
        """Give a unit to the replica with the least to do."""
        ...

    def wait(self) -> list[Event]:
        """What happened, at least one event. Raises what a replica raised, such as ModelError."""
        ...

    def close(self) -> None:
        """End all replicas."""
        ...


class Replicas:
    """A Backend that spreads batches over a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        """Wait for the first replica. Raises ModelError if the model does not load."""
        self._fleet = fleet
        self._ready: Ready | None = None
        try:
            while self._ready is None:
                self._handle(fleet.wait(), None)
        except BaseException:
            fleet.close()
            raise

    @property
    def budget(self) -> Budget:
        """The limits of one call, which are the same for each replica."""
        assert self._ready is not None
        return self._ready.budget

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the model would not fit into memory; None if it would."""
        return self._ready.float32_problem if self._ready else None

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats.

        Raises ModelError if each worker that scores one of the Requests dies.
        """
        outcomes = [one for batch in self.stream(iter([requests]), n_planned=1) for one in batch]
        nlls = [one for one in outcomes if not isinstance(one, Unscored)]
        if len(nlls) < len(outcomes):
            raise ModelError("a worker died each time it scored one of the examples")
        return nlls

    def stream(
        self,
        batches: Iterator[Sequence[Request]],
        *,
        n_planned: int,  # noqa: ARG002
    ) -> Generator[list[Outcome]]:
        """The outcomes of each batch, in order; a bounded number of batches is read ahead."""
        schedule = UnitSchedule(batches, max_ahead=BATCHES_PER_REPLICA * self._fleet.size)
        while not schedule.is_finished():
            while self._fleet.has_room() and (unit := schedule.next_unit()):
                self._fleet.start(unit)
            if finished := schedule.results():
                yield from finished  # and there is room for more batches, which are started first
            else:
                self._handle(self._fleet.wait(), schedule)

    def close(self) -> None:
        """End all replicas."""
        self._fleet.close()

    def _handle(self, events: Sequence[Event], schedule: UnitSchedule | None) -> None:
        for event in events:
            if isinstance(event, Ready):
                self._admit(event)
            elif schedule is None:
                continue  # the answer to a stream that was abandoned
            elif isinstance(event, Computed):
                schedule.done(event.unit, event.nlls)
            else:
                for unit in reversed(event.waiting):
                    schedule.give_back(unit)
                if event.computing is not None:
                    log.warning("a worker died (%s): its work is done again", event.cause)
                    schedule.lost(event.computing, event.cause)

    def _admit(self, ready: Ready) -> None:
        """The first replica decides the plan; another one that needs another plan is refused."""
        if self._ready is None:
            self._ready = ready
            for level, text in ready.messages:
                log.log(level, "%s", text)
        elif ready.budget != self._ready.budget:
            raise ModelError(
                f"worker {ready.replica} scores in batches of {ready.budget}, and others of"
                f" {self._ready.budget}: all workers need the same kind of device"
            )
