"""Rows of CSV, Parquet and Arrow files as dictionaries."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ifdkit.data.arrow_messages import check_uncompressed
from ifdkit.data.csv_dialect import Dialect
from ifdkit.data.parquet_files import (
    MAX_BATCH_BYTES,
    as_texts,
    n_text_bytes,
    n_values,
    parquet_batches,
    until_expanded,
)
from ifdkit.data.plain import plain
from ifdkit.data.raw import MAX_ROW_BYTES, MAX_VALUES, Raw, too_long, too_many
from ifdkit.data.sources import open_bytes
from ifdkit.errors import InputError, brief
from ifdkit.format import plural
from ifdkit.regular import open_regular, read_regular

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 256
_CHUNK = 2**20
_FREE_BYTES = 2**20
"""Bytes that may be read again before the limit of `hand_back` applies."""
_COMMAS = Dialect(",")


class _TooLongError(csv.Error):
    """A row of more than MAX_ROW_BYTES."""


class _Lines:
    """Text lines of a binary stream for `csv.reader`, and the place of the row that it reads."""

    def __init__(self, stream: BinaryIO) -> None:
        self.offset = 0
        """Byte offset of the current row."""
        self.line = 1
        """1-based line on which the current row starts."""
        self.bad_byte: str | None = None
        """Where the current row is not UTF-8, in words."""
        self._stream = stream
        self._row: list[tuple[bytes, int]] = []  # lines of the current row so far, their lengths
        self._length = 0
        self._again: deque[tuple[bytes, int]] = deque()  # lines to be read again
        self._n_handed_back = 0  # bytes, in all

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, length = self._again.popleft() if self._again else self._read()
        self._row.append((line, length))
        self._length += length
        if self._length > MAX_ROW_BYTES:
            raise _TooLongError(too_long(MAX_ROW_BYTES))
        if len(self._row) > MAX_VALUES:
            raise _TooLongError(f"has more than {MAX_VALUES:,} lines")
        if self.offset == 0 and len(self._row) == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            # The row is rejected later: raising here would leave the reader inside it.
            number = self.line + len(self._row) - 1
            bad_byte = f"byte 0x{line[error.start]:02x} at {error.start}"
            self.bad_byte = self.bad_byte or f"not UTF-8: {bad_byte} of line {number}"
            return line.decode("utf-8", errors="replace")

    def _read(self) -> tuple[bytes, int]:
        """A line and its length in bytes. Of an over-long line, only the beginning is kept."""
        line = piece = self._stream.readline(MAX_ROW_BYTES + 1)
        length = len(line)
        while not piece.endswith(b"\n") and (piece := self._stream.readline(_CHUNK)):
            length += len(piece)
        if not line:
            raise StopIteration
        return line, length

    def next_row(self) -> None:
        """End the current row after the lines read so far, and start the next one."""
        self.offset += self._length
        self.line += len(self._row)
        self._row, self._length, self.bad_byte = [], 0, None

    def hand_back(self) -> None:
        """End a malformed row after its first line, and read its other lines again as rows.

        A lost quote makes all rows up to the next quote, or up to the end of the file, part of one
        cell. Each of them is a row again after this.
        """
        first, *swallowed = self._row
        length = self._length - first[1]
        # In a file in which every row has lost a quote, each row seems to reach the end of the
        # file, and reading all of it again each time would take quadratic time. So the bytes read
        # again are limited to a multiple of those read; beyond it, the whole row is rejected.
        if self._n_handed_back + length <= 8 * self.offset + _FREE_BYTES:
            self._n_handed_back += length
            self._again.extendleft(reversed(swallowed))
            self._row, self._length = [first], first[1]


def csv_rows(stream: BinaryIO, name: str, dialect: Dialect = _COMMAS) -> Iterator[Raw]:
    """The rows of a CSV file with a header line. Raises InputError if the header is not readable.

    `name` is the name of the file in messages.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = _Lines(stream)
    if dialect.has_separator_line:
        next(lines)
        lines.next_row()
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise InputError(f"{name}: the header is not CSV: {error}") from error
    if header is None:
        return
    if lines.bad_byte:
        raise InputError(f"{name}: the header is {lines.bad_byte}")
    row = 0
    while True:
        lines.next_row()
        cells: list[str] = []
        problem: str | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error) if isinstance(error, _TooLongError) else f"not CSV: {error}"
            lines.hand_back()
        if not cells and not problem:
            continue  # a blank line
        if not problem and len(cells) != len(header):
            problem = f"has {plural(len(cells), 'cell')}, but the header has {len(header)}"
        if not problem and len(cells) > MAX_VALUES:
            problem = too_many(MAX_VALUES)
        problem = problem or lines.bad_byte
        value = None if problem else dict(zip(header, cells, strict=True))
        yield Raw(row, value, problem, lines.line, lines.offset)
        row += 1


def parquet_rows(path: Path) -> Iterator[Raw]:
    """The rows of a Parquet file, in batches. Raises InputError if it cannot be read."""
    with tempfile.TemporaryFile() as seekable, open_bytes(path) as stream:
        source = stream
        if not isinstance(getattr(stream, "raw", None), io.FileIO):
            # Parquet readers seek to the footer; a compressed stream cannot seek.
            shutil.copyfileobj(stream, seekable)
            source = seekable
        yield from batch_rows(parquet_batches(source, path, n_rows=_ROWS_PER_BATCH))


def saved_dataset_rows(folder: Path) -> Iterator[Raw]:
    """The rows of a folder written by `datasets.Dataset.save_to_disk`.

    Raises InputError if it is another kind of folder or a file in it cannot be read.
    """
    import pyarrow as pa

    try:
        if (folder / "dataset_dict.json").is_file():
            splits = json.loads(read_regular(folder / "dataset_dict.json", 2**24))["splits"]
            choices = " or ".join(str(folder / split) for split in splits)
            raise InputError(f"{folder} contains several splits: choose {choices}")
        state = json.loads(read_regular(folder / "state.json", 2**24))
        files = [folder / entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{folder} is a folder, but not one saved by `datasets`: give a file"
        ) from error
    start = 0
    for file in files:
        try:
            # Not mapped: a file that is cut while it is read would kill the process.
            with open_regular(file) as source, pa.ipc.open_stream(source) as batches:
                check_uncompressed(file)
                for raw in batch_rows(until_expanded(batches, file), start):
                    yield raw
                    start = raw.row + 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a readable Arrow file: {brief(error)}") from error


def batch_rows(batches: Iterable[pa.RecordBatch], start: int = 0) -> Iterator[Raw]:
    """The rows of record batches, numbered from `start`."""
    row = start
    for batch in batches:
        for position in range(0, batch.num_rows, _ROWS_PER_BATCH):
            for value, error in _values(batch.slice(position, _ROWS_PER_BATCH)):
                yield Raw(row, value, error)
                row += 1


def _values(batch: pa.RecordBatch) -> Iterator[tuple[Any, str | None]]:
    """The value of each row, or why there is none.

    Arrow does not check that text is UTF-8. If a batch cannot be converted, its rows are tried one
    by one, so that only the bad ones are rejected.
    """
    import pyarrow.types as pt

    checks = (
        pt.is_string,
        pt.is_large_string,
        pt.is_dictionary,
        pt.is_integer,
        pt.is_boolean,
        pt.is_null,
    )
    others = [one.name for one in batch.schema if not any(check(one.type) for check in checks)]
    is_long, is_large = n_text_bytes(batch) > MAX_BATCH_BYTES, n_values(batch) > MAX_VALUES
    if is_long or is_large:
        if batch.num_rows == 1:
            yield None, too_long(MAX_ROW_BYTES) if is_long else too_many(MAX_VALUES)
            return
        middle = batch.num_rows // 2
        yield from _values(batch.slice(0, middle))
        yield from _values(batch.slice(middle))
        return
    try:
        rows = as_texts(batch).to_pylist()
        for row in rows:
            for name in others:
                row[name] = plain(row[name], drop_nulls=True)
    except (ValueError, OverflowError, RecursionError) as error:
        if batch.num_rows == 1:
            yield None, f"cannot be read: {brief(error)}"
            return
        for row in range(batch.num_rows):
            yield from _values(batch.slice(row, 1))
        return
    yield from ((row, None) for row in rows)
