"""Which Requests share a forward pass: integers in, integers out.

Two things are shared.  A Request whose ids are a prefix of another's rides along with it: a causal
model gives both from one pass.  And where many sequences begin alike, as under a chat template, a
backend that packs computes the beginning once a batch.

The plan is a function of the Requests alone, never of what happens to be scored already, so that
an interrupted run that goes on makes the same batches and the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Request

SHORTEST_SHARED = 16
"""Tokens that sequences must have in common at their beginning for it to be computed apart."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one forward pass may hold."""

    tokens: int
    """Tokens, padding included."""
    scored: int | None = None
    """Scored tokens, each a row of logits; None where a backend bounds them by itself."""
    max_padding: float = 0.03
    """Share of a batch's tokens that may be padding."""
    packs: bool = False
    """Sequences lie end to end: nothing is padded, and common beginnings are computed once."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenSequence:
    """Ids that go through the model once, and the Requests that are answered by it."""

    ids: NDArray[np.int32]
    """Shape (tokens,)."""
    riders: tuple[int, ...]
    """Positions of the Requests served, the longest first."""
    scored: NDArray[np.int64]
    """Positions of all tokens that a rider scores, ascending, each once."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Family:
    """Sequences that begin with the same `shared` tokens, none of which is scored or predicts."""

    members: tuple[int, ...]
    """Positions of the sequences, longest first."""
    shared: int
    """0 for a sequence on its own."""


def sequences(requests: Sequence[Request]) -> list[TokenSequence]:
    """The fewest sequences that serve all Requests, in the order of their longest Requests.

    In the order of their bytes, all ids that begin with some ids follow these directly, so one
    look at the next neighbour tells whether there is a longer one to ride along with.
    """
    texts = [request.ids[: request.stop].astype("<i4").tobytes() for request in requests]
    order = sorted(range(len(requests)), key=lambda i: (texts[i], i))
    riders: dict[int, list[int]] = {}
    carrier = -1
    for i in reversed(order):
        if carrier < 0 or not texts[carrier].startswith(texts[i]):
            carrier = i
        riders.setdefault(carrier, []).append(i)
    return [
        TokenSequence(
            requests[carrier].ids[: requests[carrier].stop],
            tuple(riders[carrier]),
            _union((requests[i].start, requests[i].stop) for i in riders[carrier]),
        )
        for carrier in sorted(riders)
    ]


def _union(spans: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    ranges = [np.arange(start, stop) for start, stop in spans]
    return ranges[0] if len(ranges) == 1 else np.unique(np.concatenate(ranges))


def families(found: Sequence[TokenSequence]) -> list[Family]:
    """Group sequences by what they begin with; each is in one family, of itself perhaps."""
    by_head: dict[bytes, list[int]] = {}
    for i, sequence in enumerate(found):
        head = sequence.ids[:SHORTEST_SHARED].astype("<i4").tobytes()
        by_head.setdefault(head, []).append(i)
    grouped = []
    for members in by_head.values():
        shared = _shared([found[i] for i in members])
        longest_first = sorted(members, key=lambda i: (-len(found[i]), i))
        if shared >= SHORTEST_SHARED:
            grouped.append(Family(tuple(longest_first), shared))
        else:
            grouped += [Family((i,), 0) for i in longest_first]
    return grouped


def _shared(members: Sequence[TokenSequence]) -> int:
    """Tokens that several sequences begin with, short of those that predict a scored token."""
    if len(members) < 2:
        return 0
    first = members[0].ids
    shared = min(int(member.scored[0]) for member in members) - 1
    for member in members[1:]:
        differs = np.flatnonzero(first[:shared] != member.ids[:shared])
        shared = int(differs[0]) if len(differs) else shared
    return shared


def plan(requests: Sequence[Request], budget: Budget) -> list[list[int]]:
    """Batches of positions of Requests, each position exactly once.

    Longest sequences first: that keeps padding small, and lets memory run out at the start or not
    at all.  A sequence beyond the budget gets a batch of its own.
    """
    found = sequences(requests)
    grouped = families(found) if budget.packs else [Family((i,), 0) for i in range(len(found))]
    # Families of several first and whole, then the many single ones by length.
    grouped.sort(key=lambda f: (len(f.members) == 1, -len(found[f.members[0]]), f.members[0]))
    batches: list[list[int]] = []
    batch = _Batch(budget)
    for number, family in enumerate(grouped):
        for i in family.members:
            if not batch.takes(found[i], family.shared, number):
                batches.append(batch.requests)
                batch = _Batch(budget)
            batch.add(found[i], family.shared, number)
    return [*batches, batch.requests] if batch.requests else batches


class _Batch:
    """A batch being filled."""

    def __init__(self, budget: Budget) -> None:
        self.requests: list[int] = []
        self._budget = budget
        self._sequences = self._longest = self._tokens = self._scored = 0
        self._family = -1

    def takes(self, sequence: TokenSequence, shared: int, family: int) -> bool:
        """Whether one more sequence stays within the budget; an empty batch takes anything."""
        if not self._sequences:
            return True
        budget = self._budget
        tokens = self._tokens + len(sequence) - (shared if family == self._family else 0)
        held = tokens
        if not budget.packs:
            held = max(self._longest, len(sequence)) * (self._sequences + 1)
        scored = self._scored + len(sequence.scored)
        return (
            held <= budget.tokens
            and (budget.scored is None or scored <= budget.scored)
            and held - tokens <= budget.max_padding * held
        )

    def add(self, sequence: TokenSequence, shared: int, family: int) -> None:
        """Put a sequence in."""
        self.requests += sequence.riders
        self._tokens += len(sequence) - (shared if family == self._family else 0)
        self._scored += len(sequence.scored)
        self._longest = max(self._longest, len(sequence))
        self._sequences += 1
        self._family = family


def computed_tokens(requests: Sequence[Request], batch: Sequence[int], budget: Budget) -> int:
    """Tokens that one batch of a plan sends through the model, padding included."""
    found = sequences([requests[i] for i in batch])
    if not budget.packs:
        return len(found) * max(map(len, found))
    return sum(
        family.shared + sum(len(found[i]) - family.shared for i in family.members)
        for family in families(found)
    )
