"""Containers of rows: files, folders, standard input, hub datasets and Python objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.data import json_rows, table_rows
from ifdkit.data.raw import Raw
from ifdkit.data.sources import (
    DATA_ENDINGS,
    DELIMITERS,
    JSON_LINES,
    open_bytes,
    sha256,
    spool_stdin,
    suffix,
)
from ifdkit.data.strict_json import BadRowError, parse
from ifdkit.errors import InputError

_HEAD_BYTES = 2**16
"""Bytes that tell the format of a file."""
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Container:
    """Where rows come from."""

    name: str
    """How messages refer to it."""
    path: Path | None
    """The user's file or folder."""
    sha256: str | None
    """Digest of the file as it is on disk."""
    rows: Callable[[], Iterator[Raw]]
    """Reads the rows; can be called any number of times."""


def open_container(data: str | os.PathLike[str] | Iterable[Any]) -> Container:
    """The container of a path, `-`, a hub id or an iterable of rows.

    Raises InputError if there is nothing of that name or it cannot be opened.
    """
    if not isinstance(data, (str, os.PathLike)):
        return Container("data in memory", None, None, _in_memory(data))
    name = os.fspath(data)
    if name == "-":
        spooled = spool_stdin()
        return Container("stdin", None, sha256(spooled), lambda: file_rows(spooled))
    path = Path(name)
    try:
        if path.is_dir():
            # Reading the first row refuses any other kind of folder before it is hashed.
            rows = list(islice(table_rows.saved_dataset_rows(path), 1))
            digest = sha256(path) if rows else None
            return Container(name, path, digest, lambda: table_rows.saved_dataset_rows(path))
        if path.exists():
            with open_bytes(path):  # a file that cannot be opened is reported here
                pass
            return Container(name, path, sha256(path), lambda: file_rows(path))
    except OSError as error:
        raise InputError(f"{name[:200]}: {error.strerror or error}") from error
    is_path = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if is_path or path.suffix.lower() in DATA_ENDINGS:
        raise InputError(f"no such file: {name}")
    from ifdkit.data.hub import hub_rows

    return Container(name, None, None, hub_rows(name))


def _in_memory(data: Iterable[Any]) -> Callable[[], Iterator[Raw]]:
    pandas = sys.modules.get("pandas")  # if it is not loaded, nothing is a DataFrame
    if pandas and isinstance(data, pandas.DataFrame):  # which iterates over its column names
        missing = data.isna()
        data = _plain(data.astype(object).mask(missing, None).to_dict("records"))
    rows = list(data)
    return lambda: (Raw(number, value) for number, value in enumerate(rows))


def _plain(value: Any) -> Any:
    """Lists in place of arrays, as which pandas stores lists that it reads from Parquet."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def file_rows(path: Path) -> Iterator[Raw]:
    """The rows of a file. Its format follows from its ending, else from its first bytes.

    Raises InputError if the file is not in a known format.
    """
    ending = suffix(path)
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if ending == ".parquet" or head.startswith(b"PAR1"):
        yield from table_rows.parquet_rows(path)
        return
    if head.startswith(_UTF16_BOMS):
        raise InputError(f"{path} is UTF-16: convert it to UTF-8")
    with open_bytes(path) as stream:
        begin = head.removeprefix(_BOM).lstrip()
        if not begin and len(head) < _HEAD_BYTES:
            return
        if ending in DELIMITERS:
            yield from table_rows.csv_rows(stream, str(path), delimiter=DELIMITERS[ending])
        elif ending in JSON_LINES or (begin.startswith(b"{") and _is_json_lines(begin)):
            yield from json_rows.json_lines(stream)
        elif begin.startswith((b"[", b"{")):
            yield from json_rows.json_values(stream, in_array=begin.startswith(b"["))
        elif ending == ".json":
            raise InputError(f"{path} is not JSON: it begins with {begin[:20]!r}")
        else:
            yield from table_rows.csv_rows(stream, str(path))


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
