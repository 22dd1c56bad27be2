"""Datasets: a container of rows, and how its rows become examples.

    sources      bytes, decompressed
    json_rows    JSON arrays, JSON Lines and concatenated JSON → Raw
    table_rows   CSV, Parquet and Arrow → Raw
    containers   the right one of these for a path, a folder, standard input or Python objects
    detection    column names → Columns
    layouts      a row and its Columns → turns
    examples     turns → Examples

Every row gives either its examples or one Reject.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ifdkit.data.containers import open_container
from ifdkit.data.detection import detect
from ifdkit.data.examples import OccurrenceIds, examples_of
from ifdkit.data.layouts import Columns
from ifdkit.data.raw import Raw
from ifdkit.data.turns import BadContentError
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError
from ifdkit.records import Example, Reject

_SAMPLE_ROWS = 1000
"""Rows whose keys are looked at to detect the columns."""

Turns = Literal["all", "last"]


@dataclass(frozen=True)
class Dataset:
    """Rows that can be read any number of times, and how to read them."""

    name: str
    """How messages refer to it: the path, `stdin`, or the kind of object."""
    columns: Columns
    n_rows: int
    path: Path | None
    """The user's file or folder; None for any other container."""
    sha256: str | None
    """Digest of the file as it is on disk; None if there is no file."""
    _open: Callable[[], Iterator[Raw]]
    _turns: Turns = "all"
    _chosen: frozenset[int] | None = None
    """Positions of the chosen rows; None for all."""
    _n_rows_in_all: int | None = None
    """None if it equals `n_rows`."""
    left_out: frozenset[int] = frozenset()
    """Positions of the rows for which `--where` was not true."""

    @property
    def n_rows_in_all(self) -> int:
        """The number of rows, including those that are not chosen."""
        return self.n_rows if self._n_rows_in_all is None else self._n_rows_in_all

    @property
    def rows(self) -> list[int]:
        """Positions of the chosen rows, ascending."""
        return sorted(range(self.n_rows) if self._chosen is None else self._chosen)

    def choose(self, rows: Iterable[int]) -> Dataset:
        """The dataset with only the rows at these positions; other positions are ignored."""
        present = range(self.n_rows) if self._chosen is None else self._chosen
        chosen = frozenset(row for row in map(int, rows) if row in present)
        return replace(self, _chosen=chosen, n_rows=len(chosen), _n_rows_in_all=self.n_rows_in_all)

    def choose_where(self, rows: Iterable[int]) -> Dataset:
        """The dataset with only these rows, as `choose`; `left_out` then has the others too."""
        found = self.choose(rows)
        return replace(found, left_out=self.left_out.union(self.rows).difference(found.rows))

    def raw_rows(self) -> Iterator[Raw]:
        """The chosen rows as they are in the file."""
        return (raw for raw in self._up_to_last() if self._is_chosen(raw))

    def __iter__(self) -> Iterator[list[Example] | Reject]:
        """The examples of each row, or its rejection, in file order."""
        with OccurrenceIds() as ids:
            for raw in self._up_to_last():
                # Rows that are not chosen are counted too, so that an id does not depend on the
                # choice.
                found = self._read(raw, ids)
                if self._is_chosen(raw):
                    yield found

    def _up_to_last(self) -> Iterator[Raw]:
        """All rows up to the last chosen one."""
        if self._chosen is None:
            return self._open()
        return islice(self._open(), max(self._chosen, default=-1) + 1)

    def _is_chosen(self, raw: Raw) -> bool:
        return self._chosen is None or raw.row in self._chosen

    def _read(self, raw: Raw, ids: OccurrenceIds) -> list[Example] | Reject:
        if raw.error is not None:
            return raw.reject(raw.error)
        try:
            examples = examples_of(
                raw.row, raw.value, self.columns, last_turn_only=self._turns == "last"
            )
        except BadContentError as error:
            return raw.reject(str(error))
        return [ids.identify(example) for example in examples]


def open_dataset(
    data: str | os.PathLike[str] | Iterable[Any],
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
) -> Dataset:
    """Open a dataset and detect its columns, reading it once to count and check its rows.

    `data` is a path, `-` for standard input, a folder saved by `datasets`, a hub id (extra `hf`)
    or any iterable of dictionaries. Raises InputError if it cannot be read at all or has no rows,
    AmbiguousFormatError if its columns can be read in two ways.
    """
    container = open_container(data)
    survey = _Survey()
    for raw in container.rows():
        survey.add(raw)
    if not survey.n_rows:
        raise InputError(f"{container.name} contains no rows")
    if not survey.n_sampled:
        raise InputError(
            f"{container.name}: none of its rows can be read; row 0: {survey.first_error}"
        )
    found = _columns(survey, container.name, columns or {})
    return Dataset(
        container.name,
        found,
        survey.n_rows,
        container.path,
        container.sha256,
        container.rows,
        turns,
    )


class _Survey:
    """What a first pass over the rows shows: their number and their keys."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.n_sampled = 0
        self.keys: dict[str, None] = {}
        self.filled: set[str] = set()
        """Keys that are not null in every row."""
        self.first_error: str | None = None
        self._only: dict[str, Any] | None = None
        """The first row, if it is the only one."""

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
        """The key of the list if the file is one object around its rows, a common mistake."""
        if self.n_rows != 1 or self._only is None:
            return None
        lists = [
            k
            for k, v in self._only.items()
            if isinstance(v, list) and v and isinstance(v[0], Mapping)
        ]
        return lists[0] if len(lists) == 1 else None


def _columns(survey: _Survey, name: str, given: Mapping[str, str]) -> Columns:
    """The column of each slot. Columns of nulls are considered only if the others do not fit."""
    try:
        return detect([k for k in survey.keys if k in survey.filled], name, given)
    except AmbiguousFormatError:
        raise
    except (InputError, UsageError):
        if survey.wrapped_key and not given:
            raise InputError(
                f"{name} is one object around its rows: save the list under"
                f" {survey.wrapped_key!r} as a file of its own"
            ) from None
        return detect(survey.keys, name, given)
