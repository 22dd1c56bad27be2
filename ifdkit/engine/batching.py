"""Which Requests share a forward pass. Integers in, integers out; no torch.

Two kinds of work are shared:

- A Request whose ids are a prefix of another's needs no sequence of its own: in a causal model,
  one pass over the longer ids yields the NLLs of both.
- Sequences with the same beginning, such as a chat template, form a prefix group.  A backend that
  packs computes that beginning once per batch.

The plan is a function of the Requests alone, never of what the store already contains.  Matrix
products round differently in batches of different composition, so a resumed run reproduces the
bits of an uninterrupted one only if it makes the same batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Noise, Request

MIN_SHARED_PREFIX = 16
"""Tokens that sequences must have in common for their beginning to be computed separately."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one forward pass."""

    tokens: int
    """Tokens, padding included."""
    scored: int | None = None
    """Scored tokens, each one row of logits; None if the backend bounds its logits itself."""
    max_padding: float = 0.03
    """Share of a batch's tokens that may be padding, 0…1."""
    packs: bool = False
    """Whether sequences are laid end to end: no padding, common beginnings computed once."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenSequence:
    """Ids that go through the model once, and the Requests that they serve."""

    ids: NDArray[np.int32]
    """Shape (tokens,)."""
    requests: tuple[int, ...]
    """Positions of the Requests served, longest first."""
    spans: tuple[tuple[int, int], ...]
    """Where the tokens are that some Request scores: half-open, ascending, apart."""
    noise: Noise | None = None
    """Noise on the embeddings of its tokens."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_scored(self) -> int:
        """Number of tokens that some Request scores."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def scored(self) -> NDArray[np.int64]:
        """Positions of all tokens that some Request scores, ascending."""
        return np.concatenate([np.arange(start, stop) for start, stop in self.spans])


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Sequences with the same first `n_shared` tokens, none of which is scored or predicts."""

    members: tuple[int, ...]
    """Positions of the sequences, longest first."""
    n_shared: int
    """Tokens that all members begin with; 0 for a sequence on its own."""


def sequences(requests: Sequence[Request]) -> list[TokenSequence]:
    """The smallest set of sequences that serves all Requests, ordered by their longest Request.

    Ids are compared as bytes of fixed width.  In byte order, everything that begins with some ids
    follows them directly.  So if any Request extends this one, its next neighbour does, and that
    neighbour is either the current carrier or a prefix of it: one comparison per Request is enough.
    Only Requests with the same noise are compared.
    """
    texts = [request.id_bytes for request in requests]
    noises = [b"" if request.noise is None else request.noise.content for request in requests]
    order = sorted(range(len(requests)), key=lambda i: (noises[i], texts[i], i))
    served: dict[int, list[int]] = {}  # the longest Request of a sequence → all that it serves
    carrier = -1
    for i in reversed(order):
        is_served = carrier >= 0 and noises[carrier] == noises[i]
        if not (is_served and texts[carrier].startswith(texts[i])):
            carrier = i
        served.setdefault(carrier, []).append(i)
    return [
        TokenSequence(
            requests[carrier].ids[: requests[carrier].stop],
            tuple(served[carrier]),
            _union((requests[i].start, requests[i].stop) for i in served[carrier]),
            requests[carrier].noise,
        )
        for carrier in sorted(served)
    ]


def _union(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return tuple(found)


def prefix_groups(found: Sequence[TokenSequence]) -> list[PrefixGroup]:
    """Group sequences by their first tokens. Each is in exactly one group, possibly alone.

    One with noise is alone: its beginning is not that of any other.
    """
    by_head: dict[bytes, list[int]] = {}
    groups = [PrefixGroup((i,), 0) for i, one in enumerate(found) if one.noise is not None]
    for i, sequence in enumerate(found):
        if sequence.noise is not None:
            continue
        head = sequence.ids[:MIN_SHARED_PREFIX].astype("<i4").tobytes()
        by_head.setdefault(head, []).append(i)
    for members in by_head.values():
        if len(members) == 1:
            groups.append(PrefixGroup((members[0],), 0))
            continue
        n_shared = _common_prefix([found[i] for i in members])
        longest_first = sorted(members, key=lambda i: (-len(found[i]), i))
        if n_shared >= MIN_SHARED_PREFIX:
            groups.append(PrefixGroup(tuple(longest_first), n_shared))
        else:
            groups += [PrefixGroup((i,), 0) for i in longest_first]
    return groups


def _common_prefix(members: Sequence[TokenSequence]) -> int:
    """Number of tokens that several sequences begin with and that can be computed once."""
    first = members[0].ids
    # The token before the first scored one predicts it.  Each sequence takes the hidden states of
    # its predicting tokens from its own part of the pack, so the shared part ends before that.
    n_shared = min(member.spans[0][0] for member in members) - 1
    for member in members[1:]:
        differs = np.flatnonzero(first[:n_shared] != member.ids[:n_shared])
        n_shared = int(differs[0]) if len(differs) else n_shared
    return n_shared


def plan(requests: Sequence[Request], budget: Budget) -> list[list[int]]:
    """Batches of positions of Requests, each position exactly once.

    Longest sequences first, which keeps padding small and makes a run that exceeds memory fail at
    its start.  A sequence that exceeds the budget gets a batch of its own.  Requests with noise
    come last, in batches of their own: the others are batched as if there were none.
    """
    noisy = [i for i, one in enumerate(requests) if one.noise is not None]
    if noisy and len(noisy) < len(requests):
        plain = [i for i, one in enumerate(requests) if one.noise is None]
        return [
            [part[i] for i in batch]
            for part in (plain, noisy)
            for batch in plan([requests[i] for i in part], budget)
        ]
    found = sequences(requests)
    if budget.packs:
        groups = prefix_groups(found)
    else:
        groups = [PrefixGroup((i,), 0) for i in range(len(found))]
    # Groups of several sequences come first and stay together; then single ones by length.
    groups.sort(key=lambda g: (len(g.members) == 1, -len(found[g.members[0]]), g.members[0]))
    batches: list[list[int]] = []
    batch = BatchBuilder(budget)
    for number, group in enumerate(groups):
        for i in group.members:
            if not batch.accepts(found[i], number, group.n_shared):
                batches.append(batch.requests)
                batch = BatchBuilder(budget)
            batch.add(found[i], number, group.n_shared)
    return [*batches, batch.requests] if batch.requests else batches


class BatchBuilder:
    """A batch that is being filled, and what it costs so far."""

    def __init__(self, budget: Budget) -> None:
        self.requests: list[int] = []
        """Positions of the Requests served so far."""
        self._budget = budget
        self._n_sequences = self._longest = self._tokens = self._scored = 0
        self._group = -1

    def accepts(self, sequence: TokenSequence, group: int, n_shared: int) -> bool:
        """Whether one more sequence stays within the budget; an empty batch accepts any."""
        if not self._n_sequences:
            return True
        budget = self._budget
        tokens = self._tokens + self._new_tokens(sequence, group, n_shared)
        computed = tokens
        if not budget.packs:
            computed = max(self._longest, len(sequence)) * (self._n_sequences + 1)
        scored = self._scored + sequence.n_scored
        return (
            computed <= budget.tokens
            and (budget.scored is None or scored <= budget.scored)
            and computed - tokens <= budget.max_padding * computed
        )

    def add(self, sequence: TokenSequence, group: int, n_shared: int) -> None:
        """Add a sequence of the prefix group with number `group`."""
        self.requests += sequence.requests
        self._tokens += self._new_tokens(sequence, group, n_shared)
        self._scored += sequence.n_scored
        self._longest = max(self._longest, len(sequence))
        self._n_sequences += 1
        self._group = group

    def _new_tokens(self, sequence: TokenSequence, group: int, n_shared: int) -> int:
        """Tokens that a sequence adds. The first of its group in a batch pays for the prefix."""
        return len(sequence) - (n_shared if group == self._group else 0)


def computed_tokens(requests: Sequence[Request], batch: Sequence[int], budget: Budget) -> int:
    """Number of tokens that one batch of a plan sends through the model, padding included."""
    found = sequences([requests[i] for i in batch])
    if not budget.packs:
        return len(found) * max(map(len, found))
    return sum(
        group.n_shared + sum(len(found[i]) - group.n_shared for i in group.members)
        for group in prefix_groups(found)
    )
