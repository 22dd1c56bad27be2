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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ifdkit.errors import InputError
from ifdkit.reading import json_rows, table_rows
from ifdkit.reading.layouts import BadContentError, Columns, detect, examples_of
from ifdkit.reading.raw import Raw
from ifdkit.reading.sources import open_bytes, sha256, spool_stdin, suffix
from ifdkit.records import Example, Reject

__all__ = ["Columns", "Dataset", "open_dataset"]

_SAMPLE_ROWS = 1000
_JSON_LINES = {".jsonl", ".ndjson"}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

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

    def raw_rows(self) -> Iterator[Raw]:
        """Rows as they stand in the file, the chosen ones only."""
        for raw in self._open():
            if self._chosen is None or raw.row in self._chosen:
                yield raw

    def __iter__(self) -> Iterator[list[Example] | Reject]:
        """The examples of each row, or its rejection, in the order of the file."""
        with _Occurrences() as occurrences:
            for raw in self.raw_rows():
                if raw.error is not None:
                    yield raw.reject(raw.error)
                    continue
                try:
                    examples = examples_of(
                        raw.row, raw.value, self.columns, last_turn_only=self._turns == "last"
                    )
                except BadContentError as error:
                    yield raw.reject(str(error))
                    continue
                yield [occurrences.identify(example) for example in examples]

    def choose(self, rows: Iterable[int]) -> Dataset:
        """The same dataset with some of its rows, by position."""
        chosen = frozenset(rows)
        return replace(self, _chosen=chosen, n_rows=len(chosen))


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
    data: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
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
    if survey.wrapped_key:
        raise InputError(
            f"{name} holds one object around its rows: write the list under"
            f" {survey.wrapped_key!r} to a file of its own"
        )
    found = detect(survey.keys, name, columns)
    return Dataset(name, found, survey.n_rows, path, digest, rows, turns)


class _Survey:
    """What a first pass over the rows shows: how many there are, and which keys they have."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.n_sampled = 0
        self.keys: dict[str, None] = {}
        self.first_error: str | None = None
        self._only: dict[str, Any] | None = None

    def add(self, raw: Raw) -> None:
        self.n_rows += 1
        if raw.error is not None:
            self.first_error = self.first_error or raw.error
        elif self.n_sampled < _SAMPLE_ROWS:
            self.n_sampled += 1
            if isinstance(raw.value, Mapping):
                present = (k for k, v in raw.value.items() if v is not None)
                self.keys.update(dict.fromkeys(present))
                self._only = dict(raw.value) if self.n_rows == 1 else None

    @property
    def wrapped_key(self) -> str | None:
        """The key of the list, where the file is one object around its rows: a common slip."""
        known = {"messages", "conversations", "conversation", "chosen", "prompt", "history"}
        if self.n_rows != 1 or self._only is None or known & self._only.keys():
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
    if path.is_dir():
        rows = list(islice(table_rows.saved_dataset_rows(path), 1))  # refuse other folders first
        return path, sha256(path) if rows else None, lambda: table_rows.saved_dataset_rows(path)
    if path.exists():
        with open_bytes(path):  # a file that cannot be opened says so here
            pass
        return path, sha256(path), lambda: _file_rows(path)
    if path.suffix or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise InputError(f"no such file: {name}")
    from ifdkit.reading.hub import hub_rows

    return None, None, hub_rows(name)


def _in_memory(data: Iterable[Mapping[str, Any]]) -> Callable[[], Iterator[Raw]]:
    to_records = getattr(data, "to_dict", None)  # a DataFrame iterates over its column names
    rows = list(to_records("records") if to_records else data)
    return lambda: (Raw(number, value) for number, value in enumerate(rows))


def _file_rows(path: Path) -> Iterator[Raw]:
    """Rows of one file, its format told by ending, else by its first bytes."""
    ending = suffix(path)
    with open_bytes(path) as stream:
        head = stream.read(2**16)
    if ending == ".parquet" or head.startswith(b"PAR1"):
        yield from table_rows.parquet_rows(path)
        return
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16: convert it to UTF-8")
    with open_bytes(path) as stream:
        begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if ending in _DELIMITERS:
            yield from table_rows.csv_rows(stream, delimiter=_DELIMITERS[ending])
        elif ending in _JSON_LINES or (begin.startswith(b"{") and _is_lines(begin)):
            yield from json_rows.json_lines(stream)
        elif begin.startswith((b"[", b"{")):
            yield from json_rows.json_values(stream, in_array=begin.startswith(b"["))
        elif ending == ".json":
            raise InputError(f"{path} is not JSON: it begins with {begin[:20]!r}")
        elif begin:
            yield from table_rows.csv_rows(stream)


def _is_lines(head: bytes) -> bool:
    """Whether a file that begins with an object holds one object a line.

    Told by the first line: a whole value, or a broken one that does not merely go on below.
    """
    first, newline, rest = head.partition(b"\n")
    try:
        json_rows.parse(first.strip())
    except json_rows.BadRowError:
        return bool(newline) and first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{"
    return True
