"""The format of a file: from its ending and its first bytes to a reader of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ifdkit.data import csv_dialect, json_lines, json_rows, table_rows, text_files
from ifdkit.data.objects import Table, describe_table, tables_of
from ifdkit.data.raw import MAX_ROW_BYTES, MAX_VALUES, Raw, too_long, too_many
from ifdkit.data.signatures import looks_like, may_be_text, what_it_is
from ifdkit.data.sources import DELIMITERS, JSON_LINES, open_bytes, suffix
from ifdkit.data.strict_json import BadRowError, parse, parsed
from ifdkit.data.text_files import TEXT_ENDING
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError, unknown

HEAD_BYTES = 2**16
"""Bytes that tell the format of a file."""
_MAX_OBJECT_BYTES = 2**27
"""A larger object around all rows is not read: it is parsed as a whole."""
_MAX_OBJECT_VALUES = 5_000_000
"""Values of an object around all rows, as MAX_VALUES of a row."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How the rows of a file are read."""

    rows: Callable[[], Iterator[Raw]]
    """Reads the rows; can be called any number of times."""
    notes: tuple[str, ...] = ()
    """What the user should know of the format, such as an unusual separator."""
    problem: str | None = None
    """What the file may be if none of its rows can be read."""


def file_format(
    path: Path,
    name: str,
    *,
    part: str | None = None,
    given: Mapping[str, str] | None = None,
    lines: bool = False,
) -> FileFormat:
    """The format of a file; `name` names it in messages.

    `part` is the key of one of several datasets in a JSON file, `given` the columns that the user
    names. With `lines`, the file is text and each line is a document. Raises InputError if the file
    is not in a known format, AmbiguousFormatError if it has several parts and none is given,
    UsageError for the lines of a file that is not text.
    """
    ending = suffix(path)
    with open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
    is_text = (lines or ending == TEXT_ENDING) and may_be_text(head)
    if (kind := what_it_is(head)) and not is_text:
        raise InputError(f"{name} is {kind}")
    if lines:
        check_lines(name, ending)
        return FileFormat(lambda: _opened(path, text_files.text_lines))
    found = _json_format(path, head, ending)
    if ending == TEXT_ENDING and not _is_json(found):
        if part is not None:
            raise InputError(f"{name} has no parts, so {part!r} is not one of them")
        return FileFormat(lambda: _opened(path, text_files.whole_text))
    if found is not None:
        found = _around_rows(path, name, found, part, given or {})
    elif part is not None:
        raise InputError(f"{name} has no parts, so {part!r} is not one of them")
    else:
        found = _table_format(path, name, head, ending)
    return replace(found, problem=looks_like(head))


def check_lines(name: str, ending: str) -> None:
    """Raise UsageError if the lines of a file with this ending are not documents."""
    if ending in (".json", ".parquet", ".arrow", *JSON_LINES, *DELIMITERS):
        raise UsageError(f"--lines is for text files, and {name} is not one")


def _is_json(found: FileFormat | None) -> bool:
    """Whether the first row of a file that begins like JSON can be read."""
    first = next(found.rows(), None) if found else None
    return first is not None and first.error is None and isinstance(first.value, Mapping)


def _table_format(path: Path, name: str, head: bytes, ending: str) -> FileFormat:
    if ending == ".parquet" or head.startswith(b"PAR1"):
        return FileFormat(lambda: table_rows.parquet_rows(path))
    begin = _begin(head)
    if not begin and len(head) < HEAD_BYTES:
        return FileFormat(lambda: iter(()))
    is_known = ending in DELIMITERS or ending in JSON_LINES
    if not is_known and (ending in (".yaml", ".yml") or looks_like(head)):
        problem = looks_like(head) or "it is YAML: convert it to JSON"
        raise InputError(f"{name} is not JSON: {problem}")
    if ending == ".json":
        raise InputError(f"{name} is not JSON: it begins with {begin[:20]!r}")
    if ending in JSON_LINES:
        return FileFormat(lambda: _opened(path, json_lines.json_lines))
    expected = DELIMITERS.get(ending, ",")
    dialect = csv_dialect.sniff(head, expected)
    notes = () if dialect.delimiter == expected else (dialect.description,)
    rows = lambda: _opened(path, lambda s: table_rows.csv_rows(s, name, dialect))  # noqa: E731
    return FileFormat(rows, notes)


def _opened(path: Path, read: Callable[[Any], Iterator[Raw]]) -> Iterator[Raw]:
    with open_bytes(path) as stream:
        yield from read(stream)


def _begin(head: bytes) -> bytes:
    return head.removeprefix(_BOM).lstrip()


def begins_like_json(path: Path) -> bool:
    """Whether a file contains JSON, whatever its ending says. Raises InputError."""
    with open_bytes(path) as stream:
        found = _json_format(path, stream.read(HEAD_BYTES), suffix(path))
    return _is_json(found) if suffix(path) == TEXT_ENDING else found is not None


def _json_format(path: Path, head: bytes, ending: str) -> FileFormat | None:
    """The format of a file that begins like JSON; None for any other."""
    begin = _begin(head)
    # The header of a CSV file may begin with a bracket, but hardly like an object with a key.
    is_table = ending in DELIMITERS and not begin.startswith((b'{"', b'[{"'))
    if ending == ".parquet" or is_table or not begin.startswith((b"[", b"{")):
        return None
    wants_lines = ending in JSON_LINES
    if begin.startswith(b"["):
        is_lines, other = wants_lines and _has_list_per_line(begin), "a JSON array"
    else:
        is_lines = not _is_pretty(begin) if wants_lines else _is_json_lines(begin)
        other = "JSON objects over several lines"
    notes: tuple[str, ...] = ()
    if ending in DELIMITERS:
        notes = (f"it is JSON, not {ending.removeprefix('.').upper()}",)
    elif wants_lines and not is_lines:
        notes = (f"it contains {other}, not one object per line",)
    if is_lines:
        return FileFormat(lambda: _opened(path, json_lines.json_lines), notes)
    in_array = begin.startswith(b"[")
    read = lambda stream: json_rows.json_values(stream, in_array=in_array)  # noqa: E731
    return FileFormat(lambda: _opened(path, read), notes)


def _is_json_lines(head: bytes) -> bool:
    """Whether a file that begins with an object contains one object per line.

    The first line decides: it is a complete value, or a malformed one that neither continues on the
    next line nor contains several objects.
    """
    first, newline, rest = head.partition(b"\n")
    try:
        parse(first.strip())
    except BadRowError as error:
        is_whole = bool(newline) and first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{"
        return is_whole and "Extra data" not in str(error)
    return True


def _is_pretty(head: bytes) -> bool:
    """Whether the first object of a file of JSON Lines continues on the next line after all."""
    first, _, rest = head.partition(b"\n")
    return not first.rstrip().endswith((b"}", b"},")) and rest.lstrip()[:1] in (b'"', b"}")


def _has_list_per_line(head: bytes) -> bool:
    """Whether the first line is a whole list, and others follow."""
    first, _, rest = head.partition(b"\n")
    _, error = parsed(first.strip())
    return error is None and bool(rest.strip())


def _around_rows(
    path: Path, name: str, found: FileFormat, part: str | None, given: Mapping[str, str]
) -> FileFormat:
    """The format of a file of one JSON object that contains all rows; else the one that was found.

    Raises AmbiguousFormatError if the object has several datasets and none is asked for.
    """
    with open_bytes(path) as stream:
        # The only element of an array is a row.
        is_object = stream.read(HEAD_BYTES).removeprefix(_BOM).lstrip().startswith(b"{")
    first = list(islice(found.rows(), 2))
    value: Any = first[0].value if len(first) == 1 and is_object else None
    is_large = len(first) == 1 and first[0].error in (too_long(MAX_ROW_BYTES), too_many(MAX_VALUES))
    if is_object and is_large:
        value = _whole(path, name)
    value = value if isinstance(value, Mapping) else {}
    tables = tables_of(value, given)
    if part is not None and part not in tables:
        parts = [key for key in tables if key]
        problem = unknown("part", part, parts) if parts else f"no parts, so not {part!r}"
        raise InputError(f"{name} has {problem}")
    if not tables:
        return found
    if part is None and len(tables) > 1:
        choices = " or ".join(f"{name}:{key}" for key in tables)
        raise AmbiguousFormatError(f"{name} contains several datasets: choose {choices}")
    key = next(iter(tables)) if part is None else part
    note = describe_table(key, tables[key], value)

    def rows() -> Iterator[Raw]:
        # Parsed again for each pass, so that the rows do not stay in memory.
        table = tables_of(_whole(path, name), given).get(key, Table([], ""))
        return (Raw(number, row) for number, row in enumerate(table.rows))

    return FileFormat(rows, (*found.notes, note))


def _whole(path: Path, name: str) -> Any:
    """The JSON value of a whole file. Raises InputError if it is too long or malformed."""
    with open_bytes(path) as stream:
        data = stream.read(_MAX_OBJECT_BYTES + 1)
    exceeded, value, error = f"{_MAX_OBJECT_BYTES:,} bytes", None, None
    if len(data) <= _MAX_OBJECT_BYTES:
        value, error = parsed(data.removeprefix(_BOM).strip().rstrip(b","), _MAX_OBJECT_VALUES)
        is_large = error == too_many(_MAX_OBJECT_VALUES)
        exceeded = f"{_MAX_OBJECT_VALUES:,} values" if is_large else ""
    if exceeded:
        raise InputError(
            f"{name} is one object of more than {exceeded}: write its rows as JSON Lines, one per"
            " line"
        )
    if error is not None:
        raise InputError(f"{name}: {error}")
    return value
