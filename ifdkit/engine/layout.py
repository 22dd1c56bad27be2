"""How the sequences of one batch are laid out, padded or packed, and how NLLs are mapped back.

Integers only, no torch.  A packed batch contains its sequences end to end, as segments.  What the
sequences of a prefix group begin with is stored once, before them:

    tokens      [ prefix ][ rest of a ][ rest of b ][ c, on its own ][ filler ]
    attends to    itself    prefix+own   prefix+own   itself          itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.batching import TokenSequence, prefix_groups, sequences
from ifdkit.records import NLL, Request

Indices = NDArray[np.int64]

SIZE_MULTIPLE = 32
"""Packs and the rows of the LM head are filled up to a multiple of this.

oneDNN generates code for each matrix size that it meets and keeps it, about two thirds of a
megabyte per size, so that memory grew with the number of batches.  Filling costs 1.6 % of the
tokens of a pack of 1,024.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of a pack. They attend to a prefix, and causally to themselves."""

    begin: int
    end: int
    prefix_begin: int = 0
    prefix_end: int = 0

    @property
    def n_queries(self) -> int:
        """Number of its own tokens."""
        return self.end - self.begin

    @property
    def n_prefix(self) -> int:
        """Number of tokens in the prefix."""
        return self.prefix_end - self.prefix_begin

    @property
    def n_keys(self) -> int:
        """Number of tokens that its last token attends to."""
        return self.n_prefix + self.n_queries


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of a pack, in the forms that variable-length attention takes."""

    parts: tuple[Segment, ...]

    @cached_property
    def query_ends(self) -> NDArray[np.int32]:
        """Cumulative number of queries, shape (segments + 1,)."""
        return np.cumsum([0, *(s.n_queries for s in self.parts)], dtype=np.int32)

    @cached_property
    def key_ends(self) -> NDArray[np.int32]:
        """Cumulative number of keys, a prefix counted once per segment, shape (segments + 1,)."""
        return np.cumsum([0, *(s.n_keys for s in self.parts)], dtype=np.int32)

    @cached_property
    def keys(self) -> Indices | None:
        """Position in the pack of each key, shape (keys,); None if no segment has a prefix."""
        if not any(s.n_prefix for s in self.parts):
            return None
        ranges = [
            np.r_[s.prefix_begin : s.prefix_end, s.begin : s.end] if s.n_prefix
            else np.arange(s.begin, s.end) for s in self.parts
        ]  # fmt: skip
        return np.concatenate(ranges)

    @property
    def max_queries(self) -> int:
        """Queries of the longest segment."""
        return max(s.n_queries for s in self.parts)

    @property
    def max_keys(self) -> int:
        """The largest number of keys of a segment."""
        return max(s.n_keys for s in self.parts)


class Batch:
    """The sequences that serve some Requests, and the mapping from NLLs back to Requests."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.sequences: list[TokenSequence] = sequences(requests)
        self._requests = requests

    @property
    def targets(self) -> Indices:
        """Ids of all scored tokens, sequence by sequence, shape (scored,)."""
        return np.concatenate([s.ids[s.scored] for s in self.sequences]).astype(np.int64)

    def split(self, nats: NLL) -> list[NLL]:
        """NLLs of `targets`, shape (scored, …), as one array per Request, in their order."""
        found: list[NLL] = [np.empty(0, np.float32)] * len(self._requests)
        begin = 0
        for sequence in self.sequences:
            scored = sequence.scored
            for i in sequence.requests:
                request = self._requests[i]
                # `scored` is a union of spans, so each span is a contiguous run of it.
                first = begin + int(np.searchsorted(scored, request.start))
                found[i] = nats[first : first + request.n_scored].copy()
            begin += len(scored)
        return found


Noisy = tuple[tuple[int, TokenSequence], ...]
"""Sequences with noise, and where each begins in the ids of a batch, row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """Sequences side by side, each padded on the right to the longest."""

    ids: Indices
    """Shape (batch, tokens)."""
    predicting: NDArray[np.bool_]
    """Whether a position predicts a scored token, which is the token after it; same shape."""
    noisy: Noisy = ()

    @classmethod
    def of(cls, found: Sequence[TokenSequence]) -> Padded:
        """Lay sequences out. Right padding needs no mask: causal attention never looks right."""
        shape = len(found), max(map(len, found))
        ids, predicting = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for row, sequence in enumerate(found):
            ids[row, : len(sequence)] = sequence.ids
            predicting[row, sequence.scored - 1] = True
        begins = ((row * shape[1], one) for row, one in enumerate(found))
        return cls(ids, predicting, tuple(one for one in begins if one[1].noise is not None))


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Sequences end to end, common beginnings once."""

    ids: Indices
    """Shape (tokens,)."""
    positions: Indices
    """Position of each token in its own sequence, shape (tokens,)."""
    predicting: Indices
    """Positions in the pack that predict a scored token, sequence by sequence, shape (scored,)."""
    segments: Segments
    noisy: Noisy = ()

    @classmethod
    def of(cls, found: Sequence[TokenSequence]) -> Packed:
        """Lay sequences out, filled up to a multiple of SIZE_MULTIPLE tokens."""
        ids: list[NDArray[np.int32]] = []
        positions: list[Indices] = []
        parts: list[Segment] = []
        predicting: dict[int, Indices] = {}
        noisy: list[tuple[int, TokenSequence]] = []
        end = 0

        def append(tokens: NDArray[np.int32], position: int, prefix: tuple[int, int]) -> int:
            """Add a segment whose first token has this position; returns where it begins."""
            nonlocal end
            ids.append(tokens)
            positions.append(np.arange(position, position + len(tokens)))
            parts.append(Segment(end, end + len(tokens), *prefix))
            end += len(tokens)
            return end - len(tokens)

        for group in prefix_groups(found):
            n_shared, prefix = group.n_shared, (0, 0)
            if n_shared:
                begin = append(found[group.members[0]].ids[:n_shared], 0, prefix)
                prefix = (begin, begin + n_shared)
            for i in group.members:
                begin = append(found[i].ids[n_shared:], n_shared, prefix)
                # Never negative: a prefix ends before the first predicting token.
                predicting[i] = begin + (found[i].scored - 1 - n_shared)
                if found[i].noise is not None:  # it is a group of its own, without a prefix
                    noisy.append((begin, found[i]))
        if missing := -end % SIZE_MULTIPLE:
            append(np.zeros(missing, np.int32), 0, (0, 0))  # a segment that nothing attends to
        return cls(
            np.concatenate(ids).astype(np.int64),
            np.concatenate(positions),
            np.concatenate([predicting[i] for i in range(len(found))]),
            Segments(tuple(parts)),
            tuple(noisy),
        )
