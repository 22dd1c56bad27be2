"""Options for reading a dataset: its columns, its turns, and how many of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Dataset, Reasoning, Turns
from ifdkit.data.where import choose_where
from ifdkit.errors import UsageError, unknown
from ifdkit.expressions.nodes import Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a dataset, and which of its rows.

    Raises UsageError if `limit` or `sample` is below 1 or `seed` is negative.
    """

    columns: Mapping[str, str] | None = None
    """Slot → column name, as `parse_columns` returns it; slots not named are detected."""
    turns: Turns = "all"
    reasoning: Reasoning = "keep"
    """Whether what the assistant thought precedes its text, or is left out."""
    lines: bool = False
    """Whether each line of a text file is a document, instead of the whole file."""
    limit: int | None = None
    """Read only the first `limit` rows."""
    sample: int | None = None
    """Read only this many rows, drawn at random within the limit and kept in file order."""
    seed: int = 0
    """Seed of the sample."""
    until: str | None = None
    """The rule that chose the size of the sample, whose rows are then the first of a random order:
    a larger sample has those of a smaller one too."""
    where: Expression | None = None
    """Read only the rows for which it is true. It is about their columns, and comes before the
    limit and the sample."""

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least one row")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not negative")
        if self.reasoning not in get_args(Reasoning):
            raise UsageError(unknown("choice of reasoning", self.reasoning, get_args(Reasoning)))

    def drawn_from(self, dataset: Dataset) -> int | None:
        """How many rows the sample was drawn from; None if it is not a part of them."""
        # Rows that `--where` left out, before the sample, could not be drawn.
        pool = dataset.n_rows_in_all - len(dataset.left_out)
        pool = min(self.limit or pool, pool)
        return pool if self.sample is not None and self.sample < pool else None

    def draw(self, n_rows: int) -> NDArray[np.int64]:
        """The positions of the sample among so many rows, of which it is a part."""
        generator = np.random.default_rng(self.seed)
        if self.until is not None:
            return generator.permutation(n_rows)[: self.sample]
        return generator.choice(n_rows, self.sample, replace=False)

    def positions(self, n_rows: int) -> NDArray[np.int64]:
        """The positions of the limit and the sample among so many rows, ascending."""
        n_rows = len(range(n_rows)[: self.limit])
        if self.sample is not None and self.sample < n_rows:
            return np.sort(self.draw(n_rows))
        return np.arange(n_rows)

    def narrow(self, dataset: Dataset, fields: Iterable[str] = ()) -> Dataset:
        """The dataset with only the rows of `where`, the limit and the sample.

        `fields` are names besides columns, for messages. Raises UsageError for a wrong name.
        """
        if self.where is not None:
            dataset = choose_where(dataset, self.where, fields)
        if self.limit is None and self.sample is None:
            return dataset
        rows = dataset.rows
        chosen = self.positions(len(rows))
        return dataset.choose(rows[i] for i in chosen) if len(chosen) < len(rows) else dataset

    def manifest_fields(self, dataset: Dataset) -> dict[str, Any]:
        """The fields of a manifest that record the file, its columns and these options."""
        return {
            "input": dataset.name,
            "input_sha256": dataset.sha256,
            "inputs": [part.record() for part in dataset.parts if dataset.has_sources],
            "columns": dataset.filled_columns,
            "turns": self.turns,
            "reasoning": self.reasoning,
            "lines": self.lines,
            "limit": self.limit,
            "sample": self.sample,
            "seed": None if self.sample is None else self.seed,
            "where": None if self.where is None else str(self.where),
        }


class ReadKeywords(TypedDict, total=False):
    """Keywords of the public functions that read a dataset: fields of :class:`ReadOptions`."""

    columns: Mapping[str, str] | None
    turns: Turns
    reasoning: Reasoning
    lines: bool
    limit: int | None
    sample: int | None
    seed: int
