"""The rows of a dataset as a selection sees them: one number per row, however many turns it has.

A row is kept or dropped whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ifdkit.data.dataset import Turns
from ifdkit.scoring.dataset import ScoredDataset, Texts
from ifdkit.scoring.per_row import WORD_FIELDS, RowNumbers, numbers_per_row
from ifdkit.selection.ranking import Column

LENGTH_FIELDS = ("instruction_tokens", "response_tokens", *WORD_FIELDS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows(RowNumbers):
    """The rows that could be read, in the order of the file, with their texts."""

    texts: Texts
    """Of every example."""

    def column(self, field: str) -> Column:
        """The numbers of a field; all NaN if it was not measured."""
        found = self.numbers.get(field)
        return np.full(len(self), np.nan) if found is None else found

    def last(self, place: int) -> tuple[str, str]:
        """Instruction and response of the last turn that counts."""
        example = int(self.ends[place]) - 1
        return self.texts.instructions[example], self.texts.responses[example]

    def text(self, place: int) -> str:
        """The texts of every turn that counts as one: instruction, then response."""
        examples = range(int(self.begins[place]), int(self.ends[place]))
        texts = self.texts
        return "\n".join(f"{texts.instructions[i]}\n{texts.responses[i]}" for i in examples)


def rows_of(scored: ScoredDataset, turns: Turns) -> Rows:
    """One entry per row from one entry per example."""
    return Rows(**vars(numbers_per_row(scored, turns)), texts=scored.texts)
