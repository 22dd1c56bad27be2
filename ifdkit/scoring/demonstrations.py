"""The nearest other example of every example, as a one-shot demonstration (2511.07074).

Nearest is the largest cosine of the sentence embeddings of the instructions.  All texts are in
memory while a dataset is scored, and n × n cosines are computed, a part at a time: some seconds for
ten thousand examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import Example, Turn
from ifdkit.visible import is_blank

if TYPE_CHECKING:
    from ifdkit.scoring.embeddings import Embeddings

Pair = tuple[str, str]
"""Instruction and response."""
_ROWS_PER_PART = 1024


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """The nearest other pair of each pair of a dataset."""

    nearest: Mapping[Pair, Pair]
    """Pairs that are alone in their dataset are absent."""
    are_stand_ins: bool = False
    """Whether they are other pairs instead of the nearest, for a plan."""


def with_demonstration(example: Example, found: Demonstrations) -> Example | None:
    """The example with its nearest other one as earlier turns; None if there is none."""
    pair = found.nearest.get((example.instruction, example.response))
    if pair is None:
        return None
    n_system = sum(turn.role == "system" for turn in example.context[:1])
    shot = (Turn("user", pair[0]), Turn("assistant", pair[1]))
    context = (*example.context[:n_system], *shot, *example.context[n_system:])
    return replace(example, context=context)


def find_demonstrations(
    examples: Iterable[Example], embeddings: Embeddings, *, may_embed: bool = True
) -> Demonstrations:
    """The nearest other pair of every pair.

    Equal pairs count as one example, which cannot be its own demonstration.  Pairs are taken in the
    order of their digests, so that neither the order of the rows nor ties change the outcome.
    `examples` are those of the whole dataset, also where only a shard of it is scored: with
    `--limit` or `--sample` they are those of the rows that are read.  Without `may_embed`, nothing
    is embedded: if the store lacks an embedding, each pair gets the next one in that order, which
    is a random other pair.
    """
    pairs = {
        (one.instruction, one.response)
        for one in examples
        if not (one.is_document or is_blank(one.instruction) or is_blank(one.response))
    }
    ordered = sorted(pairs, key=_digest)
    if len(ordered) < 2:
        return Demonstrations({})
    if not may_embed and not embeddings.has_all(instruction for instruction, _ in ordered):
        following = [*ordered[1:], ordered[0]]
        return Demonstrations(dict(zip(ordered, following, strict=True)), are_stand_ins=True)
    vectors = embeddings.embed(instruction for instruction, _ in ordered)
    matrix = np.array([vectors[instruction] for instruction, _ in ordered])  # (pairs, dimensions)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return Demonstrations(
        {pair: ordered[i] for pair, i in zip(ordered, _nearest(matrix).tolist(), strict=True)}
    )


def _nearest(unit: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index of the nearest other row of each unit row; the first of equals."""
    found = []
    for begin in range(0, len(unit), _ROWS_PER_PART):
        part = unit[begin : begin + _ROWS_PER_PART]
        cosines = part @ unit.T  # (part, pairs)
        own = np.arange(len(part))
        cosines[own, begin + own] = -np.inf
        found.append(cosines.argmax(axis=1))
    return np.concatenate(found)


def _digest(pair: Pair) -> bytes:
    text = "\0".join(pair).encode(errors="surrogatepass")
    return hashlib.sha256(text).digest()
