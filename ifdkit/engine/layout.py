"""How the sequences of one batch lie in memory, and how their nats find back to the Requests.

Pure integers: no torch.  A packed batch holds its sequences end to end, as `segments`; what
several sequences begin with stands once, before them:

    tokens     [ shared ][ rest of a ][ rest of b ][ c, whole ]
    attention    itself    shared+own   shared+own   itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.batching import TokenSequence, families, sequences
from ifdkit.records import NLL, Request

Indices = NDArray[np.int64]
TOKENS_A_STEP = 32
"""Packs are filled up to a multiple of it.  A processor's library keeps code for every size of
matrix it meets, two thirds of a megabyte each: sizes have to be few (1.6 % of filling at 1,024)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of a pack that attend to a prefix, and causally to themselves."""

    begin: int
    end: int
    prefix_begin: int = 0
    prefix_end: int = 0

    @property
    def n_queries(self) -> int:
        """Tokens of its own."""
        return self.end - self.begin

    @property
    def n_prefix(self) -> int:
        """Tokens of the prefix."""
        return self.prefix_end - self.prefix_begin

    @property
    def n_keys(self) -> int:
        """Tokens that the last of its own may look at."""
        return self.n_prefix + self.n_queries


@dataclass(frozen=True, eq=False)
class Segments:
    """Who attends to whom in a pack: what variable-length attention needs to know."""

    parts: tuple[Segment, ...]

    @cached_property
    def query_ends(self) -> NDArray[np.int32]:
        """Cumulative numbers of queries, (segments + 1,)."""
        return np.cumsum([0, *(s.n_queries for s in self.parts)], dtype=np.int32)

    @cached_property
    def key_ends(self) -> NDArray[np.int32]:
        """Cumulative numbers of keys, prefixes repeated, (segments + 1,)."""
        return np.cumsum([0, *(s.n_keys for s in self.parts)], dtype=np.int32)

    @cached_property
    def keys(self) -> Indices | None:
        """Position in the pack of each key, (keys,); None where nothing has a prefix."""
        if not any(s.n_prefix for s in self.parts):
            return None
        ranges = [
            np.r_[s.prefix_begin : s.prefix_end, s.begin : s.end] if s.n_prefix
            else np.arange(s.begin, s.end) for s in self.parts
        ]  # fmt: skip
        return np.concatenate(ranges)

    @property
    def most_queries(self) -> int:
        """Queries of the longest segment."""
        return max(s.n_queries for s in self.parts)

    @property
    def most_keys(self) -> int:
        """Keys of the segment that has most."""
        return max(s.n_keys for s in self.parts)


class Batch:
    """The sequences that serve some Requests, and the way back from nats to Requests."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.sequences: list[TokenSequence] = sequences(requests)
        self._requests = requests

    @property
    def targets(self) -> Indices:
        """Ids of all scored tokens, sequence by sequence, (scored,)."""
        return np.concatenate([s.ids[s.scored] for s in self.sequences]).astype(np.int64)

    def split(self, nats: NLL) -> list[NLL]:
        """Nats of `targets`, (scored,), as one array a Request, in their order."""
        found: list[NLL] = [np.empty(0, np.float32)] * len(self._requests)
        begin = 0
        for sequence in self.sequences:
            for i in sequence.riders:
                request = self._requests[i]
                # The span of a rider is a run of the scored positions.
                first = begin + int(np.searchsorted(sequence.scored, request.start))
                found[i] = nats[first : first + request.n_scored].copy()
            begin += len(sequence.scored)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """Sequences side by side, filled up on the right to the longest."""

    ids: Indices
    """(batch, tokens)"""
    predicting: NDArray[np.bool_]
    """Whether the logits at a position are wanted: they predict the token after it.
    (batch, tokens)"""

    @classmethod
    def of(cls, found: Sequence[TokenSequence]) -> Padded:
        """Lay sequences out. What fills them up is never seen by a causal model's real tokens."""
        shape = len(found), max(map(len, found))
        ids, predicting = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for row, sequence in enumerate(found):
            ids[row, : len(sequence)] = sequence.ids
            predicting[row, sequence.scored - 1] = True
        return cls(ids, predicting)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Sequences end to end, common beginnings once."""

    ids: Indices
    """(tokens,)"""
    positions: Indices
    """Position of each token in its own sequence, (tokens,)."""
    predicting: Indices
    """Positions in the pack whose logits are wanted, sequence by sequence, (scored,)."""
    segments: Segments

    @classmethod
    def of(cls, found: Sequence[TokenSequence]) -> Packed:
        """Lay sequences out."""
        ids: list[NDArray[np.int32]] = []
        positions: list[Indices] = []
        parts: list[Segment] = []
        predicting: dict[int, Indices] = {}
        end = 0

        def append(tokens: NDArray[np.int32], first: int, prefix: tuple[int, int]) -> int:
            nonlocal end
            ids.append(tokens)
            positions.append(np.arange(first, first + len(tokens)))
            parts.append(Segment(end, end + len(tokens), *prefix))
            end += len(tokens)
            return end - len(tokens)

        for family in families(found):
            shared, prefix = family.shared, (0, 0)
            if shared:
                begin = append(found[family.members[0]].ids[:shared], 0, prefix)
                prefix = (begin, begin + shared)
            for i in family.members:
                begin = append(found[i].ids[shared:], shared, prefix)
                predicting[i] = found[i].scored - 1 - shared + begin
        if missing := -end % TOKENS_A_STEP:
            append(np.zeros(missing, np.int32), 0, (0, 0))  # a segment that nobody looks at
        return cls(
            np.concatenate(ids).astype(np.int64),
            np.concatenate(positions),
            np.concatenate([predicting[i] for i in range(len(found))]),
            Segments(tuple(parts)),
        )
