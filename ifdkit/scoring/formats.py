"""The formats of a scores file, each written and read back: a new format is one more entry.

Every format has the same columns.  JSON is strict, CSV ends its lines as RFC 4180 says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ifdkit.data.atomic import (
    OutputFiles,
    dumps,
    encoded_json,
    json_line,
    quoted,
    valid_text,
)
from ifdkit.data.parquet_files import parquet_table
from ifdkit.data.places import check_place
from ifdkit.errors import UsageError
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.rows import (
    IDENTITY_FIELDS,
    PROFILE_FIELD,
    SOURCE_FIELD,
    TOKEN_FIELDS,
    ScoreRow,
    score_columns,
)
from ifdkit.visible import guarded, unguarded

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_GROUP = 4096
_BLOCK_BYTES = 2**25
"""Longest row: the NLLs of a hundred thousand tokens take some five megabytes."""


class RowWriter:
    """Writes rows of scores into an open file."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """`names` are the columns; a format with a header writes it now."""
        self._file, self._names = file, names

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        raise NotImplementedError

    def finish(self) -> None:
        """Complete the content; the file itself is closed by whoever opened it."""


class JsonLinesWriter(RowWriter):
    """One strict JSON object per line."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Columns as in `RowWriter`."""
        super().__init__(file, names)
        self._metrics = tuple(name for name in names if name in METRICS)
        self._is_plain = tuple(names) == (*IDENTITY_FIELDS, *self._metrics)
        """Whether all columns but those of the identity are numbers, as in most files."""
        places = ["%s", "%d", "%d", '"%s"', "%s", *("%s" for _ in self._metrics)]
        pairs = (f'"{name}": {one}' for name, one in zip(names, places, strict=False))
        self._line = "{" + ", ".join(pairs) + "}\n"
        """The text of a row whose columns are plain, with places for their values."""

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        if self._is_plain:
            self._file.write(encoded_json("".join(map(self._plain_line, rows))))
            return
        for row in rows:
            self._file.write(json_line({name: row.column(name) for name in self._names}))

    def _plain_line(self, row: ScoreRow) -> str:
        """The text that `json_line` makes, several times faster: numbers are finite or None."""
        found = map(row.numbers.__getitem__, self._metrics)
        return self._line % (
            quoted(row.id),
            row.row,
            row.turn,
            row.status,
            "null" if row.reason is None else quoted(row.reason),
            *["null" if value is None else value for value in found],
        )


class CsvWriter(RowWriter):
    """CSV with a header; lists are JSON in a cell."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Write the header."""
        super().__init__(file, names)
        self._text = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        # Python quotes a bare carriage return in a cell only with this line terminator.
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(names)

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        for row in rows:
            self._writer.writerow([_cell(row.column(name)) for name in self._names])

    def finish(self) -> None:
        """Hand the file back without closing it."""
        self._text.flush()
        self._text.detach()


class ParquetWriter(RowWriter):
    """Parquet with typed columns, zstd inside."""

    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        """Write the schema."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        super().__init__(file, names)
        self._schema = pa.schema([(name, arrow_type(name)) for name in names])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        import pyarrow as pa

        for begin in range(0, len(rows), _ROWS_PER_GROUP):
            part = rows[begin : begin + _ROWS_PER_GROUP]
            arrays = [
                pa.array([valid_text(row.column(field.name)) for row in part], field.type)
                for field in self._schema
            ]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        """Write the footer."""
        self._writer.close()


def _cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        return guarded(value)
    return dumps(value) if isinstance(value, list) else value


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a column of a scores file."""
    import pyarrow as pa

    if name in TOKEN_FIELDS:
        return pa.list_(pa.float32())
    if name == PROFILE_FIELD:
        return pa.list_(pa.float64())
    if name in ("row", "turn"):
        return pa.int64()
    if name in (*IDENTITY_FIELDS, SOURCE_FIELD):
        return pa.string()
    return pa.int64() if METRICS[name].is_integer else pa.float64()


def _read_json_lines(path: Path, names: Sequence[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.json as pj

    schema = pa.schema([(name, arrow_type(name)) for name in names])
    return pj.read_json(
        path,
        read_options=pj.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _read_csv(path: Path, names: Sequence[str]) -> pa.Table:
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
    # The quote that keeps a cell from being a formula is not part of its text.
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in TOKEN_FIELDS:
            cells = [one and unguarded(one) for one in table[field.name].to_pylist()]
            table = table.set_column(number, field, pa.array(cells, pa.string()))
    return table


def _json_lines_columns(path: Path) -> Sequence[str]:
    with path.open("rb") as file:
        first = json.loads(file.readline(_BLOCK_BYTES))
    return list(first) if isinstance(first, dict) else []


def _csv_columns(path: Path) -> Sequence[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader([file.readline(_BLOCK_BYTES)]), [])


def _parquet_columns(path: Path) -> Sequence[str]:
    import pyarrow.parquet as pq

    return [str(name) for name in pq.read_schema(path).names]


@dataclass(frozen=True, slots=True)
class ScoresFormat:
    """How scores are written under an ending, and read back."""

    writer: type[RowWriter]
    read: Callable[[Path, Sequence[str]], pa.Table]
    """Path, columns → Arrow table. Raises ValueError, OSError, ArrowException or InputError."""
    columns_of: Callable[[Path], Sequence[str]]
    """Names in the first line or the schema, with the same errors."""


FORMATS = {
    ".jsonl": ScoresFormat(JsonLinesWriter, _read_json_lines, _json_lines_columns),
    ".csv": ScoresFormat(CsvWriter, _read_csv, _csv_columns),
    ".parquet": ScoresFormat(ParquetWriter, parquet_table, _parquet_columns),
}
"""Ending → format."""


def check_output(path: Path) -> None:
    """Refuse, before any work is done, an output that could not be written.

    Raises UsageError for an unknown ending, OutputError for a missing folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"-o {path}: end it in {', '.join(FORMATS)}")
    check_place(path)


@contextmanager
def row_writer(
    files: OutputFiles,
    *,
    token_nll: bool,
    documents: bool = False,
    has_sources: bool = False,
    optional: Collection[str] = (),
) -> Iterator[RowWriter]:
    """Open the output of `files` for rows of scores, in the format of its ending.

    The keywords decide its columns, as in `score_columns`.
    """
    names = score_columns(
        token_nll=token_nll, documents=documents, has_sources=has_sources, optional=optional
    )
    writer = FORMATS[files.output.suffix.lower()].writer(files.open(), names)
    try:
        yield writer
    finally:
        # After an error too, while the file is open: Parquet's writer insists on a footer.
        writer.finish()
