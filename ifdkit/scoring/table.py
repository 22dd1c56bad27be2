"""Scores as columns: read back from a scores file, or collected as rows are scored."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import InputError, brief
from ifdkit.records import FIELDS, METRIC_FIELDS, NLL, TOKEN_FIELDS, ScoreRow
from ifdkit.scoring.ragged import Ragged, RaggedBuilder
from ifdkit.scoring.writers import WRITERS, arrow_type

NUMBER_FIELDS = ("instruction_tokens", "response_tokens", "truncated_tokens", *METRIC_FIELDS)
"""Columns of numbers that a comparison looks at."""
_NEEDED = ("id", "row", "turn", "status", "response_tokens")
_MARKS = {*_NEEDED, "nll_response_direct"}
_BLOCK_BYTES = 2**25
"""Longest row: the NLLs of a hundred thousand tokens take some five megabytes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreTable:
    """The scores of one side, column by column, one entry an example."""

    ids: Sequence[str]
    rows: NDArray[np.int64]
    turns: NDArray[np.int64]
    statuses: Sequence[str]
    numbers: Mapping[str, NDArray[np.float64]]
    """Field → column; NaN where undefined.  Fields that were not asked for are absent."""
    token_nll_direct: Ragged | None = None
    """NLLs of the response's scored tokens; None where the file has no such column."""
    token_nll_conditional: Ragged | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Sequence[int]) -> ScoreTable:
        """The table with these entries, by place, without NLLs of tokens."""
        at = np.asarray(places, dtype=np.int64)
        return ScoreTable(
            ids=[self.ids[i] for i in places],
            rows=self.rows[at],
            turns=self.turns[at],
            statuses=[self.statuses[i] for i in places],
            numbers={name: column[at] for name, column in self.numbers.items()},
        )

    @property
    def scored_tokens(self) -> NDArray[np.float64]:
        """Response tokens within the maximum length, shape (n,)."""
        tokens = self.numbers["response_tokens"]
        return tokens - self.numbers.get("truncated_tokens", np.zeros(len(self)))


def is_scores_file(path: Path) -> bool:
    """Whether a file has the columns of one, manifest or not."""
    try:
        return path.is_file() and set(_column_names(path)) >= _MARKS
    except (OSError, ValueError):
        return False


def has_score_columns(names: Sequence[str]) -> bool:
    """Whether these are the columns of a scores file."""
    return set(names) >= _MARKS


def read_scores(path: Path) -> ScoreTable:
    """Read a scores file in any of its formats. Raises InputError."""
    import pyarrow as pa

    try:
        names = [name for name in FIELDS if name in set(_column_names(path))]
        table = _READERS[path.suffix.lower()](path, names)
        return from_arrow(table)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no scores file that can be read: {brief(error)}") from error


def from_arrow(table: Any) -> ScoreTable:
    """An Arrow table with the columns of a scores file. Raises ValueError where one is missing."""
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    numbers = {
        name: table[name].cast("float64").to_numpy(zero_copy_only=False)
        for name in NUMBER_FIELDS
        if name in table.column_names
    }
    # A column that was not asked for is there all the same, empty.
    numbers = {name: column for name, column in numbers.items() if np.isfinite(column).any()}
    direct, conditional = (_ragged(table, name) for name in TOKEN_FIELDS)
    return ScoreTable(
        ids=table["id"].to_pylist(),
        rows=_whole(table["row"]),
        turns=_whole(table["turn"]),
        statuses=table["status"].to_pylist(),
        numbers=numbers,
        token_nll_direct=direct,
        token_nll_conditional=conditional,
    )


def _whole(column: Any) -> NDArray[np.int64]:
    if column.null_count:
        raise ValueError("a row has no number")
    found: NDArray[np.int64] = column.cast("int64").to_numpy()
    return found


def _ragged(table: Any, name: str) -> Ragged | None:
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
            builder.append(np.array(json.loads(cell), dtype=np.float32) if cell else None)
        return builder.finish()
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast("int64").to_numpy()
    values: NLL = pc.list_flatten(column).cast("float32").to_numpy()
    return Ragged(values, lengths)


def _column_names(path: Path) -> Sequence[str]:
    """Names in the first line or the schema. Raises ValueError or OSError."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        import pyarrow.parquet as pq

        return [str(name) for name in pq.read_schema(path).names]
    if ending == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader([file.readline(_BLOCK_BYTES)]), [])
    if ending == ".jsonl":
        with path.open("rb") as file:
            first = json.loads(file.readline(_BLOCK_BYTES))
        return list(first) if isinstance(first, dict) else []
    return []


def _read_json_lines(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.json as pj

    schema = pa.schema([(name, arrow_type(name)) for name in names])
    return pj.read_json(
        path,
        read_options=pj.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _read_parquet(path: Path, names: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=list(names))


def _read_csv(path: Path, names: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.csv as pc

    types = {n: pa.string() if n in TOKEN_FIELDS else arrow_type(n) for n in names}
    table = pc.read_csv(
        path,
        read_options=pc.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pc.ParseOptions(newlines_in_values=True),
        convert_options=pc.ConvertOptions(
            column_types=types, include_columns=list(names), null_values=[""]
        ),
    )
    # What kept a cell from being a formula is not part of the id.
    ids = [name[1:] if name[:1] == "'" and name[1:2] in set("=+-@\t\r") else name
           for name in table["id"].to_pylist()]  # fmt: skip
    return table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))


_READERS = {".jsonl": _read_json_lines, ".parquet": _read_parquet, ".csv": _read_csv}
assert set(_READERS) == set(WRITERS), "what is written can be read"


class ScoreTableBuilder:
    """Collects rows of scores as they are made."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._statuses: list[str] = []
        self._rows, self._turns = array("q"), array("q")
        self._numbers = {name: array("d") for name in NUMBER_FIELDS}
        self._direct, self._conditional = RaggedBuilder(), RaggedBuilder()

    def append(self, row: ScoreRow, nlls: Mapping[str, NLL]) -> None:
        """Add one row, with the NLLs of its response passes."""
        self._ids.append(row.id)
        self._statuses.append(row.status)
        self._rows.append(row.row)
        self._turns.append(row.turn)
        for name, column in self._numbers.items():
            value = getattr(row, name)
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
            token_nll_direct=self._direct.finish(),
            token_nll_conditional=self._conditional.finish(),
        )
