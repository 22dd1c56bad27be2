"""Datasets written back in their own format: the same rows in the same order, some with new texts.

JSON arrays and CSV rows are serialized again from their values. Lines of JSON are copied if nothing
in them changed. Of a Parquet file only the changed cells are written anew, so every type survives.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Protocol

import zstandard

from ifdkit.data.atomic import atomic, dumps, encoded_json
from ifdkit.data.csv_dialect import Dialect, sniff
from ifdkit.data.files import HEAD_BYTES, begins_like_json
from ifdkit.data.raw import Raw
from ifdkit.data.sources import COMPRESSED, DELIMITERS, JSON_LINES, open_bytes, suffix
from ifdkit.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ENDINGS = (".json", *JSON_LINES, *DELIMITERS, ".parquet")
_CHUNK = 2**20
_INDENT = re.compile(rb"\s*\[\s*?\n([ \t]*)\{\s*?\n([ \t]*)\"")
"""The start of an indented array of objects: white space before a row, and before its first key."""
_HEAD_BYTES = 2**12
_ROWS_PER_GROUP = 4096


class RowsWriter(Protocol):
    """Writes rows in the order of the file that they come from."""

    def write(self, raw: Raw, value: Any) -> bool:
        """Write a row with this value, which is `raw.value` itself if nothing changed.

        Returns False if the row is left out because it is malformed and cannot be copied either.
        """
        ...

    def finish(self) -> None:
        """Complete the content. The caller closes the file."""
        ...


def check_rows_output(path: Path, source: Path | None) -> None:
    """Check, before any work is done, that the dataset in `source` can be written to `path`.

    `source` is None if the dataset is not a file. Any dataset can be written as JSON, but only a
    CSV dataset as CSV and a Parquet dataset as Parquet. Raises UsageError or OutputError.
    """
    ending = suffix(path)
    if ending not in ROW_ENDINGS:
        raise UsageError(f"-o {path}: end it in {', '.join(ROW_ENDINGS)}, also .gz or .zst")
    own = suffix(source) if source is not None and source.is_file() else None
    if ending == ".parquet" and own != ".parquet":
        raise UsageError(
            f"-o {path}: only a Parquet dataset can be written as Parquet; end it in .jsonl"
        )
    if ending in DELIMITERS and (own not in DELIMITERS or (source and begins_like_json(source))):
        raise UsageError(f"-o {path}: only a CSV dataset can be written as CSV; end it in .jsonl")
    packed = [p for p in (path, source) if p is not None and p.suffix.lower() in COMPRESSED]
    if ending == ".parquet" and packed:
        raise UsageError(
            f"{packed[0]}: Parquet files are compressed already; unpack it, or end -o in .jsonl"
        )
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: it is a folder, or its folder is read-only")
    if source is not None and path.exists() and path.samefile(source):
        raise OutputError(f"-o {path} is the dataset itself: choose another name")


@contextmanager
def rows_file(path: Path, source: Path | None) -> Iterator[RowsWriter]:
    """Open a dataset file in the format of its ending; it replaces `path` when the block ends.

    `path` and `source` must have passed `check_rows_output`.
    """
    ending = suffix(path)
    with ExitStack() as stack:
        file = _compressed(stack.enter_context(atomic(path)), path, stack)
        writer: RowsWriter
        if ending == ".parquet":
            assert source is not None, "check_rows_output requires it"
            writer = _ParquetRows(file, source, stack)
        elif ending in DELIMITERS:
            assert source is not None, "check_rows_output requires it"
            writer = _CsvRows(file, source, ending)
        elif ending in JSON_LINES:
            writer = _JsonLinesRows(file, source, stack)
        else:
            writer = _JsonArrayRows(file, source)
        try:
            yield writer
        finally:
            # Also after an error: the Parquet writer must write its footer while the file is open.
            writer.finish()


def _compressed(file: IO[bytes], path: Path, stack: ExitStack) -> IO[bytes]:
    kind = path.suffix.lower()
    if kind == ".gz":  # without name and time, equal rows give equal files
        packed: Any = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    elif kind == ".zst":
        packed = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    else:
        return file
    whole: IO[bytes] = stack.enter_context(packed)
    return whole


def _as_json(raw: Raw, value: Any, **options: Any) -> str:
    """A row as strict JSON. Raises OutputError for values without a JSON form, such as dates."""
    try:
        return dumps(value, **options)
    except (TypeError, ValueError) as error:
        raise OutputError(f"row {raw.row} cannot be written as JSON: {error}") from error


class _JsonArrayRows:
    """One JSON array, indented like its source."""

    def __init__(self, file: IO[bytes], source: Path | None) -> None:
        self._file = file
        self._outer, self._inner = _indents(source)
        self._separator = b"[\n"

    def write(self, raw: Raw, value: Any) -> bool:
        if raw.error is not None:
            return False  # a malformed element would make the whole array malformed
        text = _as_json(raw, value, indent=self._inner or None)
        if self._outer:
            text = "\n".join(self._outer + line for line in text.split("\n"))
        self._file.write(self._separator + encoded_json(text))
        self._separator = b",\n"
        return True

    def finish(self) -> None:
        self._file.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")


def _indents(source: Path | None) -> tuple[str, str]:
    """The indentation of a row of a JSON array, and that of its fields relative to the row."""
    if source is None or not source.is_file():
        return "", ""
    with open_bytes(source) as stream:
        match = _INDENT.match(stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf"))
    if match is None:
        return "", ""
    outer, inner = match[1].decode(), match[2].decode()
    return outer, inner.removeprefix(outer)


class _JsonLinesRows:
    """One JSON value per line. A line is copied byte for byte if nothing in it changed."""

    def __init__(self, file: IO[bytes], source: Path | None, stack: ExitStack) -> None:
        self._file, self._stack = file, stack
        self._source = source if source and suffix(source) in JSON_LINES else None
        self._lines: BinaryIO | None = None
        self._position = 0

    def write(self, raw: Raw, value: Any) -> bool:
        if value is raw.value and self._source is not None and raw.n_bytes is not None:
            assert raw.byte_offset is not None, "a row of a line has a place"
            self._copy(self._source, raw.byte_offset, raw.n_bytes)
            return True
        if raw.error is not None:
            return False
        self._file.write(encoded_json(_as_json(raw, value)) + b"\n")
        return True

    def _copy(self, source: Path, offset: int, n_bytes: int) -> None:
        if self._lines is None:
            self._lines = self._stack.enter_context(open_bytes(source))
        while self._position < offset:
            self._position += len(self._lines.read(min(_CHUNK, offset - self._position)))
        end = offset + n_bytes
        while self._position < end:
            piece = self._lines.read(min(_CHUNK, end - self._position))
            self._position += len(piece)
            self._file.write(piece.removesuffix(b"\n"))  # only the last one can have it
        self._file.write(b"\n")

    def finish(self) -> None:
        pass


class _CsvRows:
    """Rows of cells under the header of the source, separated as there if the endings are equal."""

    def __init__(self, file: IO[bytes], source: Path, ending: str) -> None:
        dialect, self._header, line_end = _csv_header(source)
        is_same = ending == suffix(source)
        delimiter = dialect.delimiter if is_same else DELIMITERS[ending]
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator=line_end)
        if is_same and dialect.has_separator_line:
            self._text.write(f"sep={delimiter}{line_end}")
        self._writer.writerow(self._header)

    def write(self, raw: Raw, value: Any) -> bool:
        if raw.error is not None:
            return False  # a malformed row could swallow the rows after it
        self._writer.writerow([value[name] for name in self._header])
        return True

    def finish(self) -> None:
        self._text.flush()
        self._text.detach()


def _csv_header(source: Path) -> tuple[Dialect, list[str], str]:
    """The dialect, the column names and the line ending.

    Raises InputError if two columns have the same name.
    """
    with open_bytes(source) as stream:
        dialect = sniff(stream.read(HEAD_BYTES), DELIMITERS.get(suffix(source), ","))
    with open_bytes(source) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        if dialect.has_separator_line:
            text.readline()
        header = next(csv.reader(text, delimiter=dialect.delimiter, strict=True))
        text.detach()
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(f"{source} has two columns named {twice[0]!r}: rename one of them")
    with open_bytes(source) as stream:
        line_end = "\r\n" if stream.readline(_CHUNK).endswith(b"\r\n") else "\n"
    return dialect, header, line_end


class _ParquetRows:
    """The record batches of the source, with the changed cells replaced."""

    def __init__(self, file: IO[bytes], source: Path, stack: ExitStack) -> None:
        import pyarrow.parquet as pq

        self._file = stack.enter_context(pq.ParquetFile(source))
        self._batches = self._file.iter_batches(batch_size=_ROWS_PER_GROUP)
        self._batch: pa.RecordBatch | None = None
        self._begin = self._end = 0  # rows of the current batch
        self._positions: list[int] = []  # written rows, relative to the batch
        self._changes: dict[str, dict[int, Any]] = {}  # column → index in _positions → value
        schema = self._file.schema_arrow
        self._writer = pq.ParquetWriter(file, schema, compression=_compression(self._file))

    def write(self, raw: Raw, value: Any) -> bool:
        while raw.row >= self._end:
            self._flush()
            self._batch = next(self._batches)
            self._begin, self._end = self._end, self._end + self._batch.num_rows
        if raw.error is None and value is not raw.value:
            for name in value:
                if value[name] is not raw.value[name]:
                    self._changes.setdefault(name, {})[len(self._positions)] = value[name]
        self._positions.append(raw.row - self._begin)
        return True

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batch is not None and self._positions:
            chosen = self._batch.take(pa.array(self._positions))
            for name, changed in self._changes.items():
                at = chosen.schema.get_field_index(name)
                column = _with_cells(chosen.column(at), changed)
                chosen = chosen.set_column(at, chosen.schema.field(at), column)
            self._writer.write_batch(chosen)
        self._positions, self._changes = [], {}

    def finish(self) -> None:
        self._flush()
        self._writer.close()


def _with_cells(column: pa.Array, changed: Mapping[int, Any]) -> pa.Array:
    """A column with some of its cells replaced."""
    import pyarrow as pa

    new = pa.array(list(changed.values()), column.type)
    # Arrow arrays are immutable: append the new cells, then take every row from its place.
    places = {row: len(column) + number for number, row in enumerate(changed)}
    order = [places.get(row, row) for row in range(len(column))]
    return pa.concat_arrays([column, new]).take(pa.array(order))


def _compression(file: Any) -> str:
    metadata = file.metadata
    if not metadata.num_row_groups or not metadata.num_columns:
        return "zstd"
    return str(metadata.row_group(0).column(0).compression).lower().replace("uncompressed", "none")
