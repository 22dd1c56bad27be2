"""One entry per row from one entry per example, for what is decided about whole rows.

A row is represented by its last assistant turn, or with `--turns all` by the mean over the turns in
which the number is defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.dataset import Turns
from ifdkit.data.spilling import Chosen
from ifdkit.data.where import ROW, Cells, check_any, judged_rows
from ifdkit.expressions import evaluation
from ifdkit.expressions.nodes import Expression, Name, names_of
from ifdkit.records import Status
from ifdkit.scoring.dataset import ScoredDataset, Texts
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.where import score_fields

Column = NDArray[np.float64]
"""One number per row, NaN if undefined."""
Places = NDArray[np.int64]
WORD_FIELDS = ("instruction_words", "response_words", "words")
"""Metrics that the texts alone give."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RowNumbers:
    """The rows that could be read, in the order of the file, with their numbers."""

    positions: Places
    """0-based position of each in the input, ascending."""
    ids: Sequence[str]
    """Id of the row's last turn that counts."""
    statuses: Sequence[str]
    """`ok`, or the status of the row's first turn that is not."""
    numbers: Mapping[str, Column]
    """Field → one number per row; fields that were not measured are absent."""
    begins: Places
    ends: Places
    """The examples of row i that count are begins[i] to ends[i] − 1."""

    def __len__(self) -> int:
        return len(self.positions)


def numbers_per_row(scored: ScoredDataset, turns: Turns) -> RowNumbers:
    """The numbers of every row; those of words are counted if they were not measured."""
    table = scored.scores
    # The examples of a row are adjacent, in the order of its turns.
    ends = np.flatnonzero(np.diff(table.rows, append=-1)) + 1
    begins = ends - 1 if turns == "last" else np.concatenate([[0], ends[:-1]])
    columns = {**table.numbers, **word_counts(scored)}
    return RowNumbers(
        positions=table.rows[ends - 1],
        ids=[table.ids[end - 1] for end in ends.tolist()],
        statuses=[
            _status(table.statuses[begin:end])
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ],
        numbers={name: _means(column, begins, ends) for name, column in columns.items()},
        begins=begins,
        ends=ends,
    )


def word_counts(scored: ScoredDataset) -> dict[str, Column]:
    """The metrics of WORD_FIELDS that apply, one number per example."""

    def counts(texts: Sequence[str]) -> Column:
        return np.array([len(text.split()) for text in texts], dtype=np.float64)

    responses = counts(scored.texts.responses)
    if scored.has_documents:
        return {"response_words": responses, "words": responses}
    return {
        "instruction_words": counts(scored.texts.instructions),
        "response_words": responses,
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


def narrow(scored: ScoredDataset, expression: Expression, turns: Turns) -> ScoredDataset:
    """The rows for which an expression is true, with their scores and texts.

    Rows without an example stay among the rejects, as they cannot be judged. Raises UsageError for
    an unknown name, or if no row is chosen.
    """
    rows = numbers_per_row(scored, turns)
    positions = rows.positions.tolist()
    columns = _score_columns(rows)
    own = [name for name in names_of(expression) if name not in columns]
    if own:
        cells = Cells(scored.dataset, own, score_fields())
        for raw in judged_rows(scored.dataset.choose(positions)):
            cells.add(raw.row, raw.value)
        cells.check()
        columns |= cells.take()[1]
    is_true = evaluation.evaluate(expression, columns).is_true
    if positions:
        check_any(scored.dataset, int(is_true.sum()))
    return only_rows(scored, rows.positions[is_true])


def _score_columns(rows: RowNumbers) -> dict[Name, evaluation.Column]:
    undefined = np.full(len(rows), np.nan)
    return {
        **{
            Name((name,)): evaluation.NumberColumn(rows.numbers.get(name, undefined))
            for name in METRICS
        },
        Name(("id",)): evaluation.Column(rows.ids),
        Name(("status",)): evaluation.Column(rows.statuses),
        ROW: evaluation.Column(rows.positions.tolist()),
    }


def only_rows(scored: ScoredDataset, positions: Places) -> ScoredDataset:
    """The examples of the rows at these positions, and all rejects."""
    places = np.flatnonzero(np.isin(scored.scores.rows, positions))
    texts = scored.texts
    rejected = (one.row for one in scored.rejects)
    return replace(
        scored,
        dataset=scored.dataset.choose_where({*positions.tolist(), *rejected}),
        scores=scored.scores.take(places.tolist()),
        texts=Texts(Chosen(texts.instructions, places), Chosen(texts.responses, places)),
    )
