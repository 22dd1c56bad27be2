"""The rows of a dataset as a selection sees them: one number per row, however many turns it has.

A row is kept or dropped whole.  It is represented by its last assistant turn, or with `--turns all`
by the mean over the turns in which the number is defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ifdkit.data.dataset import Turns
from ifdkit.records import Status
from ifdkit.scoring.dataset import ScoredDataset, Texts
from ifdkit.selection.ranking import Column, Places

WORD_FIELDS = ("instruction_words", "response_words")
LENGTH_FIELDS = ("instruction_tokens", "response_tokens", *WORD_FIELDS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """The rows that could be read, in the order of the file."""

    positions: Places
    """0-based position of each in the input, ascending."""
    ids: Sequence[str]
    """Id of the row's last turn that counts."""
    statuses: Sequence[str]
    """`ok`, or the status of the row's first turn that is not."""
    numbers: Mapping[str, Column]
    """Field → one number per row; fields that were not measured are absent."""
    _texts: Texts
    _begins: Places
    _ends: Places
    """The examples of row i are _begins[i] to _ends[i] − 1."""

    def __len__(self) -> int:
        return len(self.positions)

    def column(self, field: str) -> Column:
        """The numbers of a field; all NaN if it was not measured."""
        found = self.numbers.get(field)
        return np.full(len(self), np.nan) if found is None else found

    def last(self, place: int) -> tuple[str, str]:
        """Instruction and response of the last turn that counts."""
        example = int(self._ends[place]) - 1
        return self._texts.instructions[example], self._texts.responses[example]

    def text(self, place: int) -> str:
        """The texts of every turn that counts as one: instruction, then response."""
        examples = range(int(self._begins[place]), int(self._ends[place]))
        texts = self._texts
        return "\n".join(f"{texts.instructions[i]}\n{texts.responses[i]}" for i in examples)


def rows_of(scored: ScoredDataset, turns: Turns) -> Rows:
    """One entry per row from one entry per example."""
    table, texts = scored.scores, scored.texts
    # The examples of a row are adjacent, in the order of its turns.
    ends = np.flatnonzero(np.diff(table.rows, append=-1)) + 1
    begins = ends - 1 if turns == "last" else np.concatenate([[0], ends[:-1]])
    columns = {**table.numbers, **_word_counts(texts)}
    return Rows(
        positions=table.rows[ends - 1],
        ids=[table.ids[end - 1] for end in ends.tolist()],
        statuses=[
            _status(table.statuses[begin:end])
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ],
        numbers={name: _means(column, begins, ends) for name, column in columns.items()},
        _texts=texts,
        _begins=begins,
        _ends=ends,
    )


def _word_counts(texts: Texts) -> dict[str, Column]:
    both = (texts.instructions, texts.responses)
    return {
        name: np.array([len(text.split()) for text in side], dtype=np.float64)
        for name, side in zip(WORD_FIELDS, both, strict=True)
    }


def _status(statuses: Sequence[str]) -> str:
    return next((one for one in statuses if one != Status.OK), str(Status.OK))


def _means(column: Column, begins: Places, ends: Places) -> Column:
    """Mean of the defined numbers in each [begin, end); NaN if there are none."""
    if (ends - begins == 1).all():
        return column[begins]
    # Here the spans are adjacent, which `reduceat` requires.
    known = np.isfinite(column)
    sums = np.add.reduceat(np.where(known, column, 0.0), begins)
    counts = np.add.reduceat(known.astype(np.int64), begins)
    means: Column = np.full(len(ends), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means
