"""Containers of rows: files, folders, standard input, hub datasets and Python objects."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ifdkit.data import table_rows
from ifdkit.data.files import FileFormat, file_format
from ifdkit.data.memory import rows_in_memory
from ifdkit.data.raw import Raw
from ifdkit.data.sources import DATA_ENDINGS, open_bytes, sha256, spool_descriptor, spool_stdin
from ifdkit.data.unchanged import Unchanged
from ifdkit.errors import InputError, UsageError

HUB_PREFIX = "hf://"
"""Marks a name as that of a dataset on the hub."""


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
    notes: tuple[str, ...] = ()
    """What the user should know of the format, such as an unusual separator."""
    problem: str | None = None
    """What it may be if none of its rows can be read."""
    is_python: bool = False
    """Whether it is a Python object."""
    check: Callable[[], None] = lambda: None
    """Raises InputError if the file has changed since it was opened."""


def open_container(
    data: str | os.PathLike[str] | Iterable[Any],
    given: Mapping[str, str] | None = None,
    *,
    lines: bool = False,
) -> Container:
    """The container of a path, `-`, a hub id or an iterable of rows.

    `given` are the columns that the user names; with `lines`, each line of a text file is a
    document. Raises InputError if there is nothing of that name
    or it cannot be opened, AmbiguousFormatError if it contains several datasets.
    """
    given = given or {}
    if not isinstance(data, (str, os.PathLike)):
        if lines:
            raise UsageError("lines=True is for text files, not for data in memory")
        return Container("data in memory", None, None, rows_in_memory(data, given), is_python=True)
    name = os.fspath(data)
    if name == "-":
        spooled = spool_stdin()
        return _of_format(
            file_format(spooled, "stdin", given=given, lines=lines), "stdin", None, sha256(spooled)
        )
    if name.startswith(HUB_PREFIX):
        return _on_hub(name, name.removeprefix(HUB_PREFIX))
    try:
        path, part = locate(name)
        if (copy := spool_descriptor(path)) is not None:
            return _of_format(
                file_format(copy, name, given=given, lines=lines), name, None, sha256(copy)
            )
        if path.is_dir():
            path = path / part if part else path
            unchanged = Unchanged(path)
            # Reading the first row refuses any other kind of folder before it is hashed.
            rows = list(islice(table_rows.saved_dataset_rows(path), 1))
            digest = sha256(path) if rows else None
            read = unchanged.watched(lambda: table_rows.saved_dataset_rows(path))
            return Container(name, path, digest, read, check=unchanged.check)
        if path.exists():
            unchanged = Unchanged(path)
            with open_bytes(path):  # a file that cannot be opened is reported here
                pass
            found = file_format(path, str(path), part=part, given=given, lines=lines)
            container = _of_format(found, name, path, sha256(path))
            read = unchanged.watched(found.rows)
            return replace(container, rows=read, check=unchanged.check)
    except OSError as error:
        raise InputError(f"{name[:200]}: {error.strerror or error}") from error
    check_exists(name)
    return _on_hub(name, name, _similar(path))


def _on_hub(name: str, identifier: str, similar: str = "") -> Container:
    from ifdkit.data.hub import hub_rows

    return Container(name, None, None, hub_rows(identifier, similar))


def check_exists(name: str) -> None:
    """Raise InputError for the name of a file that does not exist, unless it may be a hub id."""
    if name == "-" or name.startswith(HUB_PREFIX):
        return
    try:
        path, _ = locate(name)
        exists = path.exists()
    except OSError:
        return  # reported when it is opened
    is_path = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if not exists and (is_path or path.suffix.lower() in DATA_ENDINGS):
        raise InputError(f"no such file: {name}{_similar(path)}")


def _of_format(found: FileFormat, name: str, path: Path | None, digest: str) -> Container:
    return Container(name, path, digest, found.rows, found.notes, found.problem)


def locate(name: str) -> tuple[Path, str | None]:
    """The file or folder of a name, and the part of it that the name asks for.

    `data.json:train` is the part `train` of `data.json`, unless there is a file of that name.
    Raises OSError if the name cannot be one of a file.
    """
    path = Path(name)
    before, colon, part = name.rpartition(":")
    if colon and part and not path.exists() and Path(before).exists():
        return Path(before), part
    return path, None


def _similar(path: Path) -> str:
    """` (did you mean …?)` if there is a file with a similar name in the folder."""
    try:
        names = [one.name for one in islice(path.parent.iterdir(), 10_000)]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""
