"""Which replica computes what next, and what is done if one dies. No processes here, no torch.

    batches ─▶ units ─▶ replicas ─▶ outcomes ─▶ results, in the order of the batches

A unit is the part of a batch that one replica computes in one call: the whole batch, unless
replicas died from it.  The batches come from the plan of the input, and a lost unit is computed
again as it was, so the numbers depend neither on the number of replicas nor on which of them died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from ifdkit.errors import ModelError
from ifdkit.records import NLL, Request

DEATHS_PER_UNIT = 2
"""Replicas that a unit may cost before it is halved: one can die by accident."""
DEATHS_PER_REQUEST = 3
"""Replicas that a single Request may cost before it is given up."""
MAX_DEATHS_IN_A_ROW = 20
"""Replicas that may die without a result in between.  It takes more than the halvings of a batch of
10,000 Requests, one of which is deadly."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """A Request without NLLs, because replicas died each time they computed it."""

    reason: str


Outcome = NLL | Unscored


@dataclass(eq=False, slots=True)
class Unit:
    """Consecutive Requests of one batch."""

    number: int
    """Counts the units of all schedules of a process, so that a late answer is recognised."""
    batch: int
    begin: int
    requests: Sequence[Request]
    deaths: int = 0
    """Replicas that died while they computed it."""


_NUMBERS = count()


class UnitSchedule:
    """Hands out units, collects outcomes, and returns them batch by batch."""

    def __init__(self, batches: Iterator[Sequence[Request]], *, max_ahead: int) -> None:
        """`max_ahead`: batches in memory at once, from the oldest that is not finished on."""
        self._batches = enumerate(batches)
        self._max_ahead = max_ahead
        self._due: deque[Unit] = deque()
        self._collected: dict[int, list[Outcome | None]] = {}
        self._missing: dict[int, int] = {}
        self._first = 0
        """The oldest batch that was not returned."""
        self._under_way: set[int] = set()
        self._exhausted = False
        self._deaths_in_a_row = 0

    def is_finished(self) -> bool:
        """Whether every batch was returned. Reads the next batch if nothing else is due."""
        if not self._collected:
            self._read()
        return self._exhausted and not self._collected

    def next_unit(self) -> Unit | None:
        """The next unit to compute; None if all are under way, or too many batches wait."""
        if not self._due and len(self._collected) < self._max_ahead:
            self._read()
        if not self._due:
            return None
        unit = self._due.popleft()
        self._under_way.add(unit.number)
        return unit

    def give_back(self, unit: Unit) -> None:
        """A unit that no replica began: it is the next one due."""
        if self._is_own(unit):
            self._due.appendleft(unit)

    def done(self, unit: Unit, nlls: Sequence[Outcome]) -> None:
        """A replica has computed a unit."""
        self._deaths_in_a_row = 0
        if self._is_own(unit):
            self._collect(unit, nlls)

    def lost(self, unit: Unit, cause: str) -> None:
        """A replica died while it computed a unit. Raises ModelError if none survives.

        The unit is due again; after DEATHS_PER_UNIT deaths in halves, which is also what a batch
        needs that takes more memory than the system has.
        """
        if not self._is_own(unit):
            return
        unit.deaths += 1
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > MAX_DEATHS_IN_A_ROW:
            raise ModelError(
                f"{self._deaths_in_a_row} workers died in a row without a result, the last one"
                f" {cause}: try fewer --workers, a lower --max-length or a smaller model"
            )
        n = len(unit.requests)
        if n == 1 and unit.deaths >= DEATHS_PER_REQUEST:
            reason = f"the workers that scored it died {unit.deaths} times, the last one {cause}"
            self._collect(unit, [Unscored(reason)])
        elif n > 1 and unit.deaths >= DEATHS_PER_UNIT:
            # A half is given one death less: its whole has already shown that one is deadly.
            for begin, end in ((n // 2, n), (0, n // 2)):
                part = unit.requests[begin:end]
                half = Unit(
                    next(_NUMBERS), unit.batch, unit.begin + begin, part, DEATHS_PER_UNIT - 1
                )
                self._due.appendleft(half)
        else:
            self._due.appendleft(unit)

    def results(self) -> list[list[Outcome]]:
        """The outcomes of the batches that are finished, in order."""
        finished = []
        while self._missing.get(self._first) == 0:
            del self._missing[self._first]
            found = self._collected.pop(self._first)
            self._first += 1
            finished.append([one for one in found if one is not None])
        return finished

    def _is_own(self, unit: Unit) -> bool:
        """Whether a unit was under way. An abandoned schedule leaves units that are not."""
        is_own = unit.number in self._under_way
        self._under_way.discard(unit.number)
        return is_own

    def _read(self) -> None:
        """Make the next batch due."""
        if self._exhausted:
            return
        number, requests = next(self._batches, (0, None))
        if requests is None:
            self._exhausted = True
            return
        self._collected[number] = [None] * len(requests)
        self._missing[number] = len(requests)
        self._due.append(Unit(next(_NUMBERS), number, 0, requests))

    def _collect(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        end = unit.begin + len(unit.requests)
        self._collected[unit.batch][unit.begin : end] = outcomes
        self._missing[unit.batch] -= len(unit.requests)
