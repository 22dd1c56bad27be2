"""Scores files: one writer of rows per file format."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from ifdkit.data.atomic import atomic, dumps, json_line
from ifdkit.errors import OutputError, UsageError
from ifdkit.records import FIELDS, TOKEN_FIELDS, ScoreRow

_TEXT_FIELDS = {"id", "status", "reason"}
_ROWS_PER_GROUP = 4096


def score_columns(*, token_nll: bool) -> tuple[str, ...]:
    """The columns of a scores file."""
    return FIELDS if token_nll else tuple(name for name in FIELDS if name not in TOKEN_FIELDS)


class RowWriter(Protocol):
    """Writes rows of scores into an open file."""

    def write(self, rows: Sequence[ScoreRow]) -> None:
        """Append rows."""
        ...

    def finish(self) -> None:
        """Complete the content; the file itself is closed by whoever opened it."""
        ...


class _ScoreJsonLines:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._file, self._names = file, names

    def write(self, rows: Sequence[ScoreRow]) -> None:
        for row in rows:
            values = {name: getattr(row, name) for name in self._names}
            self._file.write(json_line(values))

    def finish(self) -> None:
        pass


class _ScoreCsv:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(
            file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )
        self._names = names
        # Lines end as RFC 4180 says; only so does Python quote a bare carriage return in a cell.
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(names)

    def write(self, rows: Sequence[ScoreRow]) -> None:
        for row in rows:
            self._writer.writerow([_cell(getattr(row, name)) for name in self._names])

    def finish(self) -> None:
        self._text.flush()
        self._text.detach()


_FORMULA_SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # full-width ones too


def _cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.lstrip().startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return dumps(value) if isinstance(value, list) else value


class _ScoreParquet:
    def __init__(self, file: IO[bytes], names: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema([(name, arrow_type(name)) for name in names])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Sequence[ScoreRow]) -> None:
        import pyarrow as pa

        for begin in range(0, len(rows), _ROWS_PER_GROUP):
            part = rows[begin : begin + _ROWS_PER_GROUP]
            arrays = [
                pa.array([_whole(getattr(row, field.name)) for row in part], field.type)
                for field in self._schema
            ]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()


def _whole(value: Any) -> Any:
    """Text that UTF-8 holds: half a character is spelt out."""
    is_text = isinstance(value, str) and not value.isascii()
    return value.encode(errors="backslashreplace").decode() if is_text else value


def arrow_type(name: str) -> Any:
    """The Arrow type of a column of a scores file."""
    import pyarrow as pa

    if name in TOKEN_FIELDS:
        return pa.list_(pa.float32())
    if name in _TEXT_FIELDS:
        return pa.string()
    integer = name in {"row", "turn"} or name.endswith(("_tokens", "_words"))
    return pa.int64() if integer else pa.float64()


WRITERS: dict[str, Any] = {".jsonl": _ScoreJsonLines, ".csv": _ScoreCsv, ".parquet": _ScoreParquet}
"""Ending → writer of rows.  A new output format is one more entry."""


def check_output(path: Path) -> None:
    """Refuse, before any work is done, an output that could not be written.

    Raises UsageError for an unknown ending, OutputError for a missing folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"-o {path}: end it in {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: it is a folder, or its folder is read-only")


@contextmanager
def row_writer(path: Path, *, token_nll: bool) -> Iterator[RowWriter]:
    """A scores file in the format of its ending, which appears when the block ends."""
    with atomic(path) as file:
        writer: RowWriter = WRITERS[path.suffix.lower()](file, score_columns(token_nll=token_nll))
        try:
            yield writer
        finally:
            # After an error too, while the file is open: Parquet's writer insists on a footer.
            writer.finish()
