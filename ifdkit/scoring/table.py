"""Scores as columns: read back from a scores file, or collected as rows are scored."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import InputError, brief
from ifdkit.records import NLL
from ifdkit.scoring.formats import FORMATS
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.ragged import Ragged, RaggedBuilder
from ifdkit.scoring.rows import (
    PROFILE_FIELD,
    SOURCE_FIELD,
    TOKEN_FIELDS,
    ScoreRow,
    score_columns,
)

if TYPE_CHECKING:
    import pyarrow as pa

_NEEDED = ("id", "row", "turn", "status", "response_tokens")
_MARKS = {*_NEEDED, "nll_response_direct"}


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreTable:
    """Scores, column by column, one entry per example."""

    ids: Sequence[str]
    rows: NDArray[np.int64]
    turns: NDArray[np.int64]
    statuses: Sequence[str]
    numbers: Mapping[str, NDArray[np.float64]]
    """Metric → column; NaN if undefined.  A metric without any number is absent."""
    reasons: Sequence[str | None] | None = None
    """One sentence for every status but `ok`; None if the reasons are not known."""
    sources: Sequence[str | None] | None = None
    """The input of every example; None if the dataset has one input."""
    token_nll_direct: Ragged | None = None
    """NLLs of the response's scored tokens; None if they are not known."""
    token_nll_conditional: Ragged | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Sequence[int]) -> ScoreTable:
        """The table with the entries at these positions."""
        at = np.asarray(positions, dtype=np.int64)
        direct, conditional = self.token_nll_direct, self.token_nll_conditional
        return ScoreTable(
            ids=[self.ids[i] for i in positions],
            rows=self.rows[at],
            turns=self.turns[at],
            statuses=[self.statuses[i] for i in positions],
            numbers={name: column[at] for name, column in self.numbers.items()},
            reasons=None if self.reasons is None else [self.reasons[i] for i in positions],
            sources=None if self.sources is None else [self.sources[i] for i in positions],
            token_nll_direct=None if direct is None else direct.copy_of(at),
            token_nll_conditional=None if conditional is None else conditional.copy_of(at),
        )

    @property
    def scored_tokens(self) -> NDArray[np.float64]:
        """Response tokens within the maximum length, shape (n,)."""
        tokens = self.numbers["response_tokens"]
        return tokens - self.numbers.get("truncated_tokens", np.zeros(len(self)))


def is_scores_file(path: Path) -> bool:
    """Whether a file has the columns of one, with or without a manifest."""
    found = FORMATS.get(path.suffix.lower())
    try:
        return found is not None and path.is_file() and has_score_columns(found.columns_of(path))
    except (OSError, ValueError, RecursionError):
        return False


def has_score_columns(names: Sequence[str]) -> bool:
    """Whether these are the columns of a scores file."""
    return set(names) >= _MARKS


def read_scores(path: Path) -> ScoreTable:
    """Read a scores file in any of its formats. Raises InputError."""
    import pyarrow as pa

    found = FORMATS[path.suffix.lower()]
    try:
        present = set(found.columns_of(path))
        known = score_columns(token_nll=True, documents=True, has_sources=True, optional=METRICS)
        names = [name for name in known if name in present and name != PROFILE_FIELD]
        return from_arrow(found.read(path, names))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable scores file: {brief(error)}") from error


def from_arrow(table: pa.Table) -> ScoreTable:
    """An Arrow table with the columns of a scores file. Raises ValueError if one is missing."""
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    numbers = {
        name: table[name].cast("float64").to_numpy(zero_copy_only=False)
        for name in METRICS
        if name in table.column_names
    }
    # A metric that was not asked for has a column without a number.
    numbers = {name: column for name, column in numbers.items() if np.isfinite(column).any()}
    direct, conditional = (_ragged(table, name) for name in TOKEN_FIELDS)
    return ScoreTable(
        ids=table["id"].to_pylist(),
        rows=_integers(table["row"]),
        turns=_integers(table["turn"]),
        statuses=table["status"].to_pylist(),
        numbers=numbers,
        reasons=table["reason"].to_pylist() if "reason" in table.column_names else None,
        sources=_texts(table, SOURCE_FIELD),
        token_nll_direct=direct,
        token_nll_conditional=conditional,
    )


def _texts(table: pa.Table, name: str) -> list[str | None] | None:
    if name not in table.column_names or table[name].null_count == table.num_rows:
        return None
    found: list[str | None] = table[name].to_pylist()
    return found


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    if column.null_count:
        raise ValueError("a row has no number")
    found: NDArray[np.int64] = column.cast("int64").to_numpy()
    return found


def _ragged(table: pa.Table, name: str) -> Ragged | None:
    if name not in table.column_names:
        return None
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name]
    if pa.types.is_null(column.type):
        return None
    if pa.types.is_string(column.type):  # CSV
        builder = RaggedBuilder()
        for cell in column.to_pylist():
            builder.append(_nlls(cell) if cell else None)
        return builder.finish().unless_empty()
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast("int64").to_numpy()
    values: NLL = pc.list_flatten(column).cast("float32").to_numpy()
    return Ragged(values, lengths).unless_empty()


def _nlls(cell: str) -> NLL:
    """The numbers of a cell of a CSV file. Raises ValueError if it is no list of numbers."""
    try:
        values = json.loads(cell)
    except RecursionError as error:
        raise ValueError("a list is nested too deeply") from error
    if not (isinstance(values, list) and all(isinstance(one, int | float) for one in values)):
        raise ValueError(f"{cell[:40]!r} is no list of numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
        return np.array(list(map(_float, values)), dtype=np.float64).astype(np.float32)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


class ScoreTableBuilder:
    """Collects rows of scores as they are made."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._statuses: list[str] = []
        self._reasons: list[str | None] = []
        self._sources: list[str | None] = []
        self._rows, self._turns = array("q"), array("q")
        self._numbers = {name: array("d") for name in METRICS}
        self._direct, self._conditional = RaggedBuilder(), RaggedBuilder()

    def append(self, row: ScoreRow, nlls: Mapping[str, NLL]) -> None:
        """Add one row, with the NLLs of its response passes."""
        self._ids.append(row.id)
        self._statuses.append(row.status)
        self._reasons.append(row.reason)
        self._sources.append(row.source)
        self._rows.append(row.row)
        self._turns.append(row.turn)
        for name, column in self._numbers.items():
            value = row[name]
            column.append(float("nan") if value is None else value)
        self._direct.append(nlls.get("response_direct"))
        self._conditional.append(nlls.get("response_conditional"))

    def finish(self) -> ScoreTable:
        """All rows, in order."""
        numbers = {name: np.frombuffer(column) for name, column in self._numbers.items()}
        return ScoreTable(
            ids=self._ids,
            rows=np.frombuffer(self._rows, dtype=np.int64),
            turns=np.frombuffer(self._turns, dtype=np.int64),
            statuses=self._statuses,
            numbers={name: column for name, column in numbers.items() if np.isfinite(column).any()},
            reasons=self._reasons,
            sources=self._sources if any(self._sources) else None,
            token_nll_direct=self._direct.finish().unless_empty(),
            token_nll_conditional=self._conditional.finish().unless_empty(),
        )
