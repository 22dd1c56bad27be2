"""The rows of a dataset as a selection sees them: one number a row, however many turns it has.

A row is kept or dropped whole.  Its last assistant turn speaks for it, or with `--turns all` the
mean over those of its turns in which the number is defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ifdkit.data.dataset import Turns
from ifdkit.records import Status
from ifdkit.scoring.dataset import ScoredDataset, Texts
from ifdkit.selection.options import WORD_FIELDS
from ifdkit.selection.ranking import Column, Places


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """The rows that could be read, in the order of the file."""

    positions: Places
    """0-based position of each in the input, ascending."""
    ids: Sequence[str]
    """Of the row's last turn that counts."""
    statuses: Sequence[str]
    """`ok`, or what is the matter with the first of its turns that is not."""
    numbers: Mapping[str, Column]
    """Field → one number a row; fields that were not measured are absent."""
    turns: Turns
    _texts: Texts
    _begins: Places
    _ends: Places
    """The examples of row i are those from _begins[i] to before _ends[i]."""

    def __len__(self) -> int:
        return len(self.positions)

    def column(self, field: str) -> Column:
        """The numbers of a field, NaN where it was measured nowhere."""
        found = self.numbers.get(field)
        return np.full(len(self), np.nan) if found is None else found

    def last(self, place: int) -> tuple[str, str]:
        """Instruction and response of the last turn that counts."""
        example = int(self._ends[place]) - 1
        return self._texts.instructions[example], self._texts.responses[example]

    def text(self, place: int) -> str:
        """All that counts of a row in one: instruction, then response, of every turn."""
        examples = range(int(self._begins[place]), int(self._ends[place]))
        texts = self._texts
        return "\n".join(f"{texts.instructions[i]}\n{texts.responses[i]}" for i in examples)


def rows_of(scored: ScoredDataset, turns: Turns) -> Rows:
    """One entry a row from one entry an example."""
    table, texts = scored.scores, scored.texts
    # The examples of a row follow one another, in the order of its turns.
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
        turns=turns,
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
    """Mean of the defined numbers from each begin to before its end; NaN where there are none."""
    if (ends - begins == 1).all():
        return column[begins]
    # Rows follow one another without a gap here.
    known = np.isfinite(column)
    sums = np.add.reduceat(np.where(known, column, 0.0), begins)
    counts = np.add.reduceat(known.astype(np.int64), begins)
    means: Column = np.full(len(ends), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means
