"""Datasets written back in their own format: the same rows in the same order, some with new texts.

Rows of JSON are copied as they are written if nothing in them changed, so that numbers, escapes and
repeated keys survive. CSV rows are serialized again from their values, documents of text files as
text. Of a Parquet file only the
changed cells are written anew, so every type survives. Columns can be appended in every format.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import zstandard

from ifdkit.data.atomic import OutputFiles, dumps, encoded_json
from ifdkit.data.csv_dialect import Dialect, sniff
from ifdkit.data.files import HEAD_BYTES, begins_like_json
from ifdkit.data.json_texts import JsonSource, on_one_line, with_keys
from ifdkit.data.parquet_rows import ParquetRows
from ifdkit.data.places import check_different, check_place
from ifdkit.data.raw import Raw
from ifdkit.data.rows_writer import Appended, RowsWriter
from ifdkit.data.sources import COMPRESSED, DELIMITERS, JSON_LINES, open_bytes, suffix
from ifdkit.data.text_files import TEXT_COLUMN, TEXT_ENDING
from ifdkit.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    pass

ROW_ENDINGS = (".json", *JSON_LINES, *DELIMITERS, ".parquet", TEXT_ENDING)
_MAX_HEADER_BYTES = 2**20
_INDENT = re.compile(rb"\s*\[\s*?\n([ \t]*)\{\s*?\n([ \t]*)\"")
"""The start of an indented array of objects: white space before a row, and before its first key."""
_HEAD_BYTES = 2**12


def check_rows_output(path: Path, source: Path | None, *, appends: bool = False) -> None:
    """Check, before any work is done, that the dataset in `source` can be written to `path`.

    `source` is None if the dataset is not a file. Any dataset can be written as JSON, but only a
    CSV dataset as CSV, a Parquet dataset as Parquet, and a text file as text. Text has no columns:
    `appends` says whether some are appended. Raises UsageError or OutputError.
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
    if ending == TEXT_ENDING and appends:
        raise UsageError(f"-o {path}: a text file has no columns for scores; end it in .jsonl")
    if ending == TEXT_ENDING and (own != TEXT_ENDING or (source and begins_like_json(source))):
        raise UsageError(f"-o {path}: only a text file can be written as text; end it in .jsonl")
    packed = [p for p in (path, source) if p is not None and p.suffix.lower() in COMPRESSED]
    if ending == ".parquet" and packed:
        raise UsageError(
            f"{packed[0]}: Parquet files are compressed already; unpack it, or end -o in .jsonl"
        )
    check_place(path)
    check_different([path], [] if source is None else [source])


@contextmanager
def rows_file(
    files: OutputFiles, source: Path | None, appended: Appended | None = None
) -> Iterator[RowsWriter]:
    """Open the output of `files` for rows, in the format of its ending.

    The output and `source` must have passed `check_rows_output`. In JSON only objects get the
    appended columns; a row of another type, or a malformed line, is copied without them.
    """
    appended = appended or Appended()
    ending = suffix(files.output)
    with ExitStack() as stack:
        file = _compressed(files.open(), files.output, stack)
        writer: RowsWriter
        if ending == ".parquet":
            assert source is not None, "check_rows_output requires it"
            writer = ParquetRows(file, source, appended)
        elif ending in DELIMITERS:
            assert source is not None, "check_rows_output requires it"
            writer = _CsvRows(file, source, ending, appended)
        elif ending == TEXT_ENDING:
            assert source is not None, "check_rows_output requires it"
            writer = _TextRows(file, source)
        elif ending in JSON_LINES:
            writer = _JsonLinesRows(file, source, stack, appended)
        else:
            writer = _JsonArrayRows(file, source, stack, appended)
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

    def __init__(
        self, file: IO[bytes], source: Path | None, stack: ExitStack, appended: Appended
    ) -> None:
        self._file, self._appended, self._stack = file, appended, stack
        self._source = JsonSource(source, stack)
        self._outer, self._inner = _indents(source)
        self._separator = b"[\n"

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        if raw.error is not None:
            return False  # a malformed element would make the whole array malformed
        keys = dict(zip(self._appended.names, cells, strict=True))
        text = self._source.text_of(raw) if value is raw.value else None
        if text is not None:
            text = self._outer + (with_keys(text, keys) if keys else text)
        else:
            value = {**value, **keys} if keys and isinstance(value, Mapping) else value
            text = _as_json(raw, value, indent=self._inner or None)
            text = "\n".join(self._outer + line for line in text.split("\n"))
        self._file.write(self._separator + encoded_json(text))
        self._separator = b",\n"
        return True

    def next_source(self, source: Path | None, first_row: int) -> None:  # noqa: ARG002
        self._source.close()
        self._source = JsonSource(source, self._stack)

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

    def __init__(
        self, file: IO[bytes], source: Path | None, stack: ExitStack, appended: Appended
    ) -> None:
        self._file, self._appended, self._stack = file, appended, stack
        self._source = JsonSource(source, stack)

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        keys = dict(zip(self._appended.names, cells, strict=True))
        if not isinstance(raw.value, Mapping):
            keys = {}
        is_same = value is raw.value
        if is_same and not keys and raw.is_line and self._source.has(raw):
            self._source.copy(raw, self._file)
            return True
        if raw.error is not None:
            return False
        text = self._source.text_of(raw) if is_same else None
        if text is None:
            text = _as_json(raw, {**value, **keys} if keys else value)
        else:
            text = on_one_line(with_keys(text, keys) if keys else text)
        self._file.write(encoded_json(text) + b"\n")
        return True

    def next_source(self, source: Path | None, first_row: int) -> None:  # noqa: ARG002
        self._source.close()
        self._source = JsonSource(source, self._stack)

    def finish(self) -> None:
        pass


class _CsvRows:
    """Rows of cells under the header of the source, separated as there if the endings are equal."""

    def __init__(self, file: IO[bytes], source: Path, ending: str, appended: Appended) -> None:
        self._file = file
        dialect, self._header, self._line_end = _csv_header(source)
        is_same = ending == suffix(source)
        delimiter = dialect.delimiter if is_same else DELIMITERS[ending]
        if is_same and dialect.has_separator_line:
            file.write(f"sep={delimiter}{self._line_end}".encode())
        self._line = io.StringIO(newline="")
        # Python quotes a bare carriage return in a cell only with this line terminator.
        self._writer = csv.writer(self._line, delimiter=delimiter, lineterminator="\r\n")
        self._write([*self._header, *appended.names])

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        if raw.error is not None:
            return False  # a malformed row could swallow the rows after it
        more = [dumps(cell) if isinstance(cell, list) else cell for cell in cells]
        self._write([value[name] for name in self._header] + more)
        return True

    def _write(self, cells: Sequence[Any]) -> None:
        self._line.seek(0)
        self._line.truncate()
        self._writer.writerow(cells)
        line = self._line.getvalue().removesuffix("\r\n") + self._line_end
        self._file.write(line.encode("utf-8", "backslashreplace"))

    def next_source(self, source: Path | None, first_row: int) -> None:
        pass  # it has the same columns

    def finish(self) -> None:
        pass


class _TextRows:
    """Documents as plain text: lines with the line break of the source, or a whole file."""

    def __init__(self, file: IO[bytes], source: Path) -> None:
        self._file, self._line_end = file, _line_end(source).encode()

    def write(self, raw: Raw, value: Any, cells: Sequence[Any] = ()) -> bool:
        del cells
        if raw.error is not None:
            return False
        self._file.write(value[TEXT_COLUMN].encode())
        if raw.is_line:
            self._file.write(self._line_end)
        return True

    def next_source(self, source: Path | None, first_row: int) -> None:  # noqa: ARG002
        raise AssertionError("check_dataset_output refuses several text files")

    def finish(self) -> None:
        pass


def _line_end(source: Path) -> str:
    """The line break after the first line of a file."""
    with open_bytes(source) as stream:
        return "\r\n" if stream.readline(_MAX_HEADER_BYTES).endswith(b"\r\n") else "\n"


def _csv_header(source: Path) -> tuple[Dialect, list[str], str]:
    """The dialect, the column names and the line ending.

    Raises InputError if two columns have the same name.
    """
    with open_bytes(source) as stream:
        dialect = sniff(stream.read(HEAD_BYTES), DELIMITERS.get(suffix(source), ","))
    with open_bytes(source) as stream:
        # A bad byte in what is read ahead is a problem of a row.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        if dialect.has_separator_line:
            text.readline()
        header = next(csv.reader(text, delimiter=dialect.delimiter, strict=True))
        text.detach()
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        raise InputError(f"{source} has two columns named {twice[0]!r}: rename one of them")
    return dialect, header, _line_end(source)


def csv_columns(source: Path) -> list[str]:
    """The column names of a CSV file. Raises InputError if two columns have the same name."""
    return _csv_header(source)[1]
