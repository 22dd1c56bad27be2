"""From a path, standard input, a hub id or plain dictionaries to Examples.

    sources      bytes, decompressed
    json_rows    arrays, lines and streams of JSON → Raw
    table_rows   CSV, Parquet, Arrow → Raw
    layouts      columns of a row → Examples

Every row comes out as its examples or as one Reject.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ifdkit.data import json_rows, table_rows
from ifdkit.data.layouts import BadContentError, Columns, detect, examples_of
from ifdkit.data.raw import Raw
from ifdkit.data.sources import COMPRESSED, open_bytes, sha256, spool_stdin, suffix
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError
from ifdkit.records import Example, Reject

__all__ = ["DATA_ENDINGS", "Columns", "Dataset", "open_dataset"]

_SAMPLE_ROWS = 1000
_HEAD_BYTES = 2**16
_JSON_LINES = {".jsonl", ".ndjson"}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
DATA_ENDINGS = {".json", ".parquet", ".arrow", ".txt", *COMPRESSED, *_JSON_LINES, *_DELIMITERS}

Turns = Literal["all", "last"]


@dataclass(frozen=True)
class Dataset:
    """Rows that can be read any number of times, and how to read them."""

    name: str
    """What to call it: the path, `stdin`, or the kind of object."""
    columns: Columns
    n_rows: int
    path: Path | None
    """Where it lies, if it is a file or folder of the user's."""
    sha256: str | None
    """Digest of the file as it lies on disk; None where there is no file."""
    _open: Callable[[], Iterator[Raw]]
    _turns: Turns = "all"
    _chosen: frozenset[int] | None = None
    _n_rows_in_all: int | None = None
    """None: `n_rows`."""

    @property
    def n_rows_in_all(self) -> int:
        """Rows of the whole dataset, those that were not chosen too."""
        return self.n_rows if self._n_rows_in_all is None else self._n_rows_in_all

    def raw_rows(self) -> Iterator[Raw]:
        """Rows as they stand in the file, the chosen ones only."""
        return (raw for raw in self._up_to_last() if self._is_chosen(raw))

    def _up_to_last(self) -> Iterator[Raw]:
        """All rows up to the last chosen one."""
        if self._chosen is None:
            return self._open()
        return islice(self._open(), max(self._chosen, default=-1) + 1)

    def _is_chosen(self, raw: Raw) -> bool:
        return self._chosen is None or raw.row in self._chosen

    def __iter__(self) -> Iterator[list[Example] | Reject]:
        """The examples of each row, or its rejection, in the order of the file."""
        with _Occurrences() as occurrences:
            for raw in self._up_to_last():
                # Rows that are not chosen are counted too: an id is the same in any choice.
                found = self._read(raw, occurrences)
                if self._is_chosen(raw):
                    yield found

    def _read(self, raw: Raw, occurrences: _Occurrences) -> list[Example] | Reject:
        if raw.error is not None:
            return raw.reject(raw.error)
        try:
            examples = examples_of(
                raw.row, raw.value, self.columns, last_turn_only=self._turns == "last"
            )
        except BadContentError as error:
            return raw.reject(str(error))
        return [occurrences.identify(example) for example in examples]

    @property
    def rows(self) -> list[int]:
        """Positions of the rows, ascending."""
        return sorted(range(self.n_rows) if self._chosen is None else self._chosen)

    def choose(self, rows: Iterable[int]) -> Dataset:
        """The same dataset with some of its rows, by position; positions it lacks are ignored."""
        there = range(self.n_rows) if self._chosen is None else self._chosen
        chosen = frozenset(row for row in map(int, rows) if row in there)
        return replace(self, _chosen=chosen, n_rows=len(chosen), _n_rows_in_all=self.n_rows_in_all)


class _Occurrences:
    """Ids for rows without one: a hash of the content and how often it came before.

    Counts live in a private temporary SQLite file, because a dictionary of a hundred million rows
    would not fit in memory.
    """

    def __enter__(self) -> _Occurrences:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE seen (digest TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def identify(self, example: Example) -> Example:
        if example.id:
            return example
        content = [[t.role, t.text, t.input] for t in example.context]
        text = json.dumps([content, example.response, example.tools])
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        (n,) = self._database.execute(
            "INSERT INTO seen VALUES (?, 0) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            (digest,),
        ).fetchone()
        return replace(example, id=f"{digest}-{n}")


def open_dataset(
    data: str | os.PathLike[str] | Iterable[Any],
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
) -> Dataset:
    """Open a dataset and find its format, reading it once to count and check its rows.

    `data` is a path, `-` for standard input, a folder saved by `datasets`, a hub id (extra `hf`)
    or any iterable of dictionaries.  Raises InputError where it cannot be read at all or holds no
    rows, AmbiguousFormatError where its columns can be read in two ways.
    """
    if isinstance(data, (str, os.PathLike)):
        name = os.fspath(data)
        path, digest, rows = _by_name(name)
        name = "stdin" if name == "-" else name
    else:
        name, path, digest, rows = "data in memory", None, None, _in_memory(data)
    survey = _Survey()
    for raw in rows():
        survey.add(raw)
    if not survey.n_rows:
        raise InputError(f"{name} holds no rows")
    if not survey.n_sampled:
        raise InputError(f"{name}: not one of its rows can be read; row 0: {survey.first_error}")
    found = _columns(survey, name, columns or {})
    return Dataset(name, found, survey.n_rows, path, digest, rows, turns)


def _columns(survey: _Survey, name: str, given: Mapping[str, str]) -> Columns:
    """Which keys serve which purpose; keys that never hold anything only where no other does."""
    try:
        return detect([k for k in survey.keys if k in survey.filled], name, given)
    except AmbiguousFormatError:
        raise
    except (InputError, UsageError):
        if survey.wrapped_key and not given:
            raise InputError(
                f"{name} holds one object around its rows: write the list under"
                f" {survey.wrapped_key!r} to a file of its own"
            ) from None
        return detect(survey.keys, name, given)


class _Survey:
    """What a first pass over the rows shows: how many there are, and which keys they have."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.n_sampled = 0
        self.keys: dict[str, None] = {}
        self.filled: set[str] = set()
        self.first_error: str | None = None
        self._only: dict[str, Any] | None = None

    def add(self, raw: Raw) -> None:
        self.n_rows += 1
        if raw.error is not None:
            self.first_error = self.first_error or raw.error
        elif self.n_sampled < _SAMPLE_ROWS:
            self.n_sampled += 1
            if isinstance(raw.value, Mapping):
                self.keys.update(dict.fromkeys(raw.value))
                self.filled.update(k for k, v in raw.value.items() if v is not None)
                self._only = dict(raw.value) if self.n_rows == 1 else None

    @property
    def wrapped_key(self) -> str | None:
        """The key of the list, where the file is one object around its rows: a common slip."""
        if self.n_rows != 1 or self._only is None:
            return None
        lists = [
            k
            for k, v in self._only.items()
            if isinstance(v, list) and v and isinstance(v[0], Mapping)
        ]
        return lists[0] if len(lists) == 1 else None


def _by_name(name: str) -> tuple[Path | None, str | None, Callable[[], Iterator[Raw]]]:
    """Path, digest and rows of what a name on the command line stands for."""
    if name == "-":
        spooled = spool_stdin()
        return None, sha256(spooled), lambda: _file_rows(spooled)
    path = Path(name)
    try:
        if path.is_dir():
            rows = list(islice(table_rows.saved_dataset_rows(path), 1))  # refuse others first
            return path, sha256(path) if rows else None, lambda: table_rows.saved_dataset_rows(path)
        if path.exists():
            with open_bytes(path):  # a file that cannot be opened says so here
                pass
            return path, sha256(path), lambda: _file_rows(path)
    except OSError as error:
        raise InputError(f"{name[:200]}: {error.strerror or error}") from error
    is_path = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if is_path or path.suffix.lower() in DATA_ENDINGS:
        raise InputError(f"no such file: {name}")
    from ifdkit.data.hub import hub_rows

    return None, None, hub_rows(name)


def _in_memory(data: Iterable[Any]) -> Callable[[], Iterator[Raw]]:
    pandas = sys.modules.get("pandas")  # where it is not loaded, nothing is a DataFrame
    if pandas and isinstance(data, pandas.DataFrame):  # which iterates over its column names
        missing = data.isna()
        data = _plain(data.astype(object).mask(missing, None).to_dict("records"))
    rows = list(data)
    return lambda: (Raw(number, value) for number, value in enumerate(rows))


def _plain(value: Any) -> Any:
    """Lists in place of the arrays in which pandas keeps lists read from Parquet."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _file_rows(path: Path) -> Iterator[Raw]:
    """Rows of one file, its format told by ending, else by its first bytes."""
    ending = suffix(path)
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if ending == ".parquet" or head.startswith(b"PAR1"):
        yield from table_rows.parquet_rows(path)
        return
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16: convert it to UTF-8")
    with open_bytes(path) as stream:
        begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not begin and len(head) < _HEAD_BYTES:
            return
        if ending in _DELIMITERS:
            yield from table_rows.csv_rows(stream, str(path), delimiter=_DELIMITERS[ending])
        elif ending in _JSON_LINES or (begin.startswith(b"{") and _is_lines(begin)):
            yield from json_rows.json_lines(stream)
        elif begin.startswith((b"[", b"{")):
            yield from json_rows.json_values(stream, in_array=begin.startswith(b"["))
        elif ending == ".json":
            raise InputError(f"{path} is not JSON: it begins with {begin[:20]!r}")
        else:
            yield from table_rows.csv_rows(stream, str(path))


def _is_lines(head: bytes) -> bool:
    """Whether a file that begins with an object holds one object a line.

    Told by the first line: a whole value, or a broken one that does not merely go on below or hold
    several objects.
    """
    first, newline, rest = head.partition(b"\n")
    try:
        json_rows.parse(first.strip())
    except json_rows.BadRowError as error:
        is_whole = bool(newline) and first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{"
        return is_whole and "Extra data" not in str(error)
    return True
