"""One input of a dataset: its rows, their columns, and where they are in the whole.

A dataset has one part, or several with names.  Each is opened by itself: with its own container,
format, survey and columns.  A part of several that cannot be read is not an error: it has one row,
or one more row after those that could be read, which is rejected with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ifdkit.data.columns import Columns
from ifdkit.data.containers import Container, open_container
from ifdkit.data.detection import Found, detect
from ifdkit.data.many_inputs import NamedInput
from ifdkit.data.raw import Raw
from ifdkit.data.sources import COMPRESSED, sha256, suffix
from ifdkit.data.survey import Survey
from ifdkit.errors import AmbiguousFormatError, ChangedInputError, InputError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One of several inputs, in a manifest."""

    source: str
    path: str
    """As it was given, or found in a folder; a hub id, or `-`."""
    sha256: str | None
    rows: int
    """Including rejected ones."""
    format: str
    columns: dict[str, str]
    problem: str | None = None
    """Why it could not be read, or not to its end."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows from one input of a dataset."""

    name: str
    """How messages refer to it: the path, `stdin`, or the kind of object."""
    source: str | None
    """What its rows carry as `source`; None if the dataset has one part."""
    path: Path | None
    """The user's file or folder; None for any other container."""
    sha256: str | None
    """Digest of the file as it is on disk; None if there is no file."""
    columns: Columns
    n_rows: int
    """Its rows, including the rejected ones."""
    open: Callable[[], Iterator[Raw]]
    """Reads its rows, numbered from 0; can be called any number of times."""
    is_false: bytes = b""
    """1 for each row with a false label and 0 for the others, up to the last one."""
    first_row: int = 0
    """The position of its first row in the dataset."""
    problem: str | None = None
    """Why it could not be read, or not to its end: the reason of its last row's rejection."""
    notes: tuple[str, ...] = ()
    """What the container turned out to be, if that is not obvious from its name."""
    check_unchanged: Callable[[], None] = lambda: None
    """Raises ChangedInputError if the file has changed since it was opened; every pass ends with
    it."""

    @property
    def n_readable(self) -> int:
        """Its rows without the one that stands for what could not be read."""
        return self.n_rows if self.problem is None else self.n_rows - 1

    @property
    def format(self) -> str:
        """The ending that names the format, such as `jsonl.gz`; `folder`, `hub` or `stdin`."""
        if self.path is None:
            return "stdin" if self.name == "stdin" else "hub"
        if self.path.is_dir():
            return "folder"
        packed = self.path.suffix.lower()
        return (suffix(self.path) + (packed if packed in COMPRESSED else "")).lstrip(".")

    def record(self) -> InputRecord:
        """What a manifest has of it, if it is one of several."""
        return InputRecord(
            source=self.source or "",
            path="-" if self.name == "stdin" and self.path is None else self.name,
            sha256=self.sha256,
            rows=self.n_rows,
            format=self.format,
            columns=self.columns.filled,
            problem=self.problem,
        )

    def rows(self) -> Iterator[Raw]:
        """Its rows, with their positions in the dataset."""
        if self.problem is None and not self.first_row:
            return self.open()
        return self._placed()

    def _placed(self) -> Iterator[Raw]:
        first = self.first_row
        # Without the limit, reading would raise the problem again.
        for raw in islice(self.open(), self.n_readable) if self.n_readable else ():
            yield replace(raw, row=raw.row + first) if first else raw
        if self.problem is not None:
            yield Raw(first + self.n_readable, error=self.problem)


def open_part(data: Any, given: Mapping[str, str], *, lines: bool = False) -> Part:
    """The only part of a dataset, read once to count and check its rows.

    `given` are the columns that the user names; with `lines`, each line of a text file is a row.
    Raises InputError, AmbiguousFormatError or
    UsageError.
    """
    container = open_container(data, given, lines=lines)
    survey = Survey([key for key in given.values() if key])
    for raw in container.rows():
        survey.add(raw)
    return _part(container, survey, given, None)


class PartsReader:
    """Opens the parts of a dataset one after the other."""

    def __init__(self, given: Mapping[str, str], *, lines: bool = False) -> None:
        """`given`: the columns that the user names; a part without one of them detects it."""
        self._given, self._lines = given, lines
        self._missing = {key for key in given.values() if key}
        """The named columns that no part so far has."""
        self._has_rows = False

    def open(self, one: NamedInput, first_row: int) -> Part:
        """The next part. Raises AmbiguousFormatError: then the user has to choose."""
        given = self._given if one.columns is None else one.columns
        survey = Survey([key for key in given.values() if key])
        container, problem = None, None
        try:
            container = open_container(one.data, given, lines=self._lines)
            for raw in container.rows():
                survey.add(raw)
        except (AmbiguousFormatError, ChangedInputError):
            raise
        except InputError as error:
            if one.path is None:
                raise  # what was typed is not there
            problem = str(error)
        if container is None or (problem and not survey.n_readable):
            return _unreadable(one, first_row, problem or "", container)
        if one.columns is None:
            given = self._present(survey, given)
        try:
            part = _part(container, survey, given, one.source)
        except AmbiguousFormatError:
            raise
        except InputError as error:
            return _unreadable(one, first_row, problem or str(error), container)
        self._has_rows = True
        n_rows = part.n_rows + (problem is not None)
        return replace(part, first_row=first_row, n_rows=n_rows, problem=problem)

    def _present(self, survey: Survey, given: Mapping[str, str]) -> dict[str, str]:
        """The given columns that a part has, and the slots that are to stay empty."""
        self._missing -= survey.keys.keys()
        return {slot: key for slot, key in given.items() if not key or key in survey.keys}

    def check(self, name: str) -> None:
        """Raise UsageError if a named column is in none of the parts."""
        if self._has_rows and self._missing:
            raise UsageError(f"{name}: none of the inputs has a column {min(self._missing)!r}")


def _part(
    container: Container, survey: Survey, given: Mapping[str, str], source: str | None
) -> Part:
    columns = _columns(survey, container, given)
    return Part(
        container.name,
        source,
        container.path,
        container.sha256,
        columns,
        survey.n_rows,
        container.rows,
        survey.rows_of_false(columns.label) if columns.label else b"",
        notes=container.notes,
        check_unchanged=container.check,
    )


def _unreadable(one: NamedInput, first_row: int, problem: str, container: Container | None) -> Part:
    """A part without readable rows: one row, which is rejected."""
    digest = container.sha256 if container else None
    if digest is None and one.path is not None and one.path.is_file():
        digest = _digest(one.path)
    return Part(
        one.data, one.source, one.path, digest, Columns(), 1, lambda: iter(()),
        first_row=first_row, problem=problem,
    )  # fmt: skip


def _digest(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None


def _columns(survey: Survey, container: Container, given: Mapping[str, str]) -> Columns:
    """The column of each slot. Columns of nulls are considered only if the others do not fit."""
    name = container.name
    if not survey.n_rows:
        raise InputError(f"{name} contains no rows")
    if not survey.n_readable:
        problem = container.problem or f"row 0: {survey.first_error}"
        raise InputError(f"{name}: none of its rows can be read; {problem}")
    if survey.first_kind and not survey.keys:
        needed = "dictionaries" if container.is_python else "objects with named fields"
        raise InputError(f"{name}: its rows must be {needed}; the first is {survey.first_kind}")
    found = Found(survey.filled, name, survey.lists, survey.labels, container.is_python)
    with_nulls = replace(found, keys=list(survey.keys))
    try:
        columns = detect(found, given)
    except AmbiguousFormatError:
        raise
    except (InputError, UsageError):
        return detect(with_nulls, given)
    if columns.text and not given.get("text"):
        # Documents are the last choice, also if a column of a pair has only nulls.
        with suppress(InputError, UsageError):
            pair = detect(with_nulls, given)
            return columns if pair.text else pair
    return columns
