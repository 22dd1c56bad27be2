"""The pairs of responses of two files: same instruction, two answers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.pairing import By, Keys, Pairing, fingerprint, pair
from ifdkit.data.spilling import Chosen, RecordColumn
from ifdkit.errors import InputError
from ifdkit.records import Example, Reject
from ifdkit.stats.discrimination import Clusters, cluster_codes


@dataclass(frozen=True, slots=True)
class ResponsePair:
    """Two responses to one instruction."""

    example: Example
    """The example of the first file: its conversation is the one that is shown."""
    first: str
    second: str


class ResponsePairs(Sequence[ResponsePair]):
    """Pairs of examples of two files, read when they are asked for."""

    def __init__(self, first: Chosen[Example], second: Chosen[Example]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first)

    @overload
    def __getitem__(self, index: int) -> ResponsePair: ...
    @overload
    def __getitem__(self, index: slice) -> ResponsePairs: ...
    def __getitem__(self, index: int | slice) -> ResponsePair | ResponsePairs:
        if isinstance(index, slice):
            return ResponsePairs(self._first[index], self._second[index])
        return _pair(self._first[index], self._second[index])

    def __iter__(self) -> Iterator[ResponsePair]:
        return map(_pair, self._first, self._second)


def _pair(first: Example, second: Example) -> ResponsePair:
    return ResponsePair(first, first.response, second.response)


@dataclass(frozen=True, slots=True, eq=False)
class MatchedPairs:
    """All pairs that can be judged, and what cannot."""

    pairs: Sequence[ResponsePair]
    instructions: Clusters
    """Equal instructions as equal numbers, ignoring whitespace, shape (pairs,)."""
    pairing: Pairing
    n_different: int
    """Pairs whose instructions or earlier turns differ, which are not asked about."""
    n_rejected: int
    """Rows of either file that could not be read."""


def match(first: Dataset, second: Dataset, by: By | None) -> MatchedPairs:
    """Pair the examples of two files as `compare` does.

    Raises InputError if no row can be paired, or if no pair has the same instruction.
    """
    one, other = _read(first), _read(second)
    found = pair(one.keys, other.keys, by)
    if not len(found):
        raise InputError(
            f"no row of {first.name} has the same {found.pairing.by} as one of {second.name}:"
            " choose another key with --pair-by id, row or instruction"
        )
    sides = Chosen(one.examples, found.before), Chosen(other.examples, found.after)
    asks_same = np.fromiter(map(_asks_same, *sides), dtype=bool, count=len(found))
    before, after = found.before[asks_same], found.after[asks_same]
    if not len(before):
        raise InputError(
            f"{first.name} and {second.name} have no pair with the same instruction: responses to"
            " different instructions cannot be compared"
        )
    assert one.keys.instructions is not None
    return MatchedPairs(
        ResponsePairs(Chosen(one.examples, before), Chosen(other.examples, after)),
        cluster_codes(one.keys.instructions[before]),
        found.pairing,
        len(found) - len(before),
        one.n_rejected + other.n_rejected,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _JudgedSide:
    """The examples of one file."""

    examples: RecordColumn[Example]
    keys: Keys
    n_rejected: int
    """Rows that could not be read."""


def _read(dataset: Dataset) -> _JudgedSide:
    examples: RecordColumn[Example] = RecordColumn()
    ids: list[str] = []
    rows, turns, prints, n_rejected = array("q"), array("q"), array("Q"), 0
    for row in dataset:
        if isinstance(row, Reject):
            n_rejected += 1
            continue
        for one in row:
            examples.append(one)
            ids.append(one.id)
            rows.append(one.row)
            turns.append(one.turn)
            prints.append(fingerprint(one.instruction))
    keys = Keys(
        ids,
        np.array(rows, dtype=np.int64),
        np.array(turns, dtype=np.int64),
        dataset.n_rows_in_all,
        np.array(prints, dtype=np.uint64),
    )
    return _JudgedSide(examples, keys, n_rejected)


def _asks_same(one: Example, other: Example) -> bool:
    return one.last_user_turn is not None and _asked(one) == _asked(other)


def _asked(example: Example) -> list[list[str]]:
    """Everything before the response, ignoring whitespace."""
    texts = (example.tools, *(f"{t.role} {t.text} {t.input}" for t in example.context))
    return [text.split() for text in texts]
