"""The pairs of responses of two files: same instruction, two answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ifdkit.data.dataset import Dataset
from ifdkit.data.pairing import By, Keys, Pairing, fingerprint, pair
from ifdkit.errors import InputError
from ifdkit.records import Example, Reject


@dataclass(frozen=True, slots=True)
class ResponsePair:
    """Two responses to one instruction."""

    example: Example
    """The example of the first file: its conversation is the one that is shown."""
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """All pairs that can be judged, and what cannot."""

    pairs: tuple[ResponsePair, ...]
    pairing: Pairing
    n_different: int
    """Pairs whose instructions or earlier turns differ, which are not asked about."""
    n_rejected: int
    """Rows of either file that could not be read."""


def match(first: Dataset, second: Dataset, by: By | None) -> MatchedPairs:
    """Pair the examples of two files as `compare` does.

    Raises InputError if no row can be paired, or if no pair has the same instruction.
    """
    sides = [_examples(one) for one in (first, second)]
    (one, n_one), (other, n_other) = sides
    found = pair(_keys(first, one), _keys(second, other), by)
    if not len(found):
        raise InputError(
            f"no row of {first.name} has the same {found.pairing.by} as one of {second.name}:"
            " choose another key with --pair-by id, row or instruction"
        )
    pairs = list(_same_question(one, other, found.before.tolist(), found.after.tolist()))
    if not pairs:
        raise InputError(
            f"{first.name} and {second.name} have no pair with the same instruction: responses to"
            " different instructions cannot be compared"
        )
    return MatchedPairs(tuple(pairs), found.pairing, len(found) - len(pairs), n_one + n_other)


def _examples(dataset: Dataset) -> tuple[list[Example], int]:
    """The examples of a file, and the number of its rejected rows."""
    examples: list[Example] = []
    n_rejected = 0
    for row in dataset:
        if isinstance(row, Reject):
            n_rejected += 1
        else:
            examples += row
    return examples, n_rejected


def _keys(dataset: Dataset, examples: list[Example]) -> Keys:
    return Keys(
        [one.id for one in examples],
        np.array([one.row for one in examples], dtype=np.int64),
        np.array([one.turn for one in examples], dtype=np.int64),
        dataset.n_rows_in_all,
        np.array([fingerprint(one.instruction) for one in examples], dtype=np.uint64),
    )


def _same_question(
    first: list[Example], second: list[Example], at_first: list[int], at_second: list[int]
) -> Iterator[ResponsePair]:
    for i, j in zip(at_first, at_second, strict=True):
        one, other = first[i], second[j]
        if one.last_user_turn is not None and _asked(one) == _asked(other):
            yield ResponsePair(one, one.response, other.response)


def _asked(example: Example) -> list[list[str]]:
    """Everything before the response, ignoring whitespace."""
    texts = (example.tools, *(f"{t.role} {t.text} {t.input}" for t in example.context))
    return [text.split() for text in texts]
