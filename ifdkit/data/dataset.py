"""Datasets: a container of rows, and how its rows become examples.

    sources      bytes, decompressed and decoded
    json_lines   JSON Lines → Raw
    json_rows    JSON arrays and concatenated JSON → Raw
    table_rows   CSV, Parquet and Arrow → Raw
    objects      one JSON object around the rows of a dataset → Raw
    files        the right one of these for a file; signatures name those that are not read
    memory       Python objects → Raw
    containers   a path, a folder, standard input, a hub id or Python objects
    survey       what all rows show: their number, keys and labels
    detection    the names of the columns → Columns
    layouts      a row and its Columns → turns, by way of pairs, messages and content_parts
    examples     turns → Examples
    read_log     what was not used

Every row gives either its examples or one Reject. Every field that is not empty is used, harmless
(`read_log.HARMLESS`), or counted in the ReadLog.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ifdkit.data.columns import Columns
from ifdkit.data.containers import Container, open_container
from ifdkit.data.detection import Found, detect
from ifdkit.data.examples import OccurrenceIds, examples_of
from ifdkit.data.layouts import describe_columns
from ifdkit.data.raw import Raw
from ifdkit.data.read_log import Fact, ReadLog
from ifdkit.data.survey import Survey
from ifdkit.data.turns import BadContentError
from ifdkit.errors import AmbiguousFormatError, InputError, UsageError
from ifdkit.records import Example, Reject
from ifdkit.visible import one_line

Turns = Literal["all", "last"]
Reasoning = Literal["keep", "drop"]


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
    _chosen: bytes | None = None
    """1 for each chosen row and 0 for the others, up to the last chosen one; None for all."""
    _n_rows_in_all: int | None = None
    """None if it equals `n_rows`."""
    left_out: frozenset[int] = frozenset()
    """Positions of the rows for which `--where` was not true."""
    notes: tuple[str, ...] = ()
    """What the container turned out to be, if that is not obvious from its name."""
    n_false: int = 0
    """Rows that are left out because their label is false."""

    @property
    def n_rows_in_all(self) -> int:
        """The number of rows, including those that are not chosen."""
        return self.n_rows if self._n_rows_in_all is None else self._n_rows_in_all

    @property
    def rows(self) -> list[int]:
        """Positions of the chosen rows, ascending."""
        if self._chosen is None:
            return list(range(self.n_rows))
        positions: list[int] = np.flatnonzero(np.frombuffer(self._chosen, np.uint8)).tolist()
        return positions

    def choose(self, rows: Iterable[int]) -> Dataset:
        """The dataset with only the rows at these positions; other positions are ignored."""
        present = self._chosen if self._chosen is not None else b"\1" * self.n_rows
        positions = {row for row in map(int, rows) if 0 <= row < len(present) and present[row]}
        chosen = bytearray(max(positions, default=-1) + 1)
        for row in positions:
            chosen[row] = 1
        return replace(
            self,
            _chosen=bytes(chosen),
            n_rows=len(positions),
            _n_rows_in_all=self.n_rows_in_all,
        )

    def describe(self) -> str:
        """`data.json: Alpaca: instruction + input → output, 1,000 rows`, for a note to the user."""
        rows = "1 row" if self.n_rows == 1 else f"{self.n_rows:,} rows"
        parts = [f"{self.name}: {describe_columns(self.columns)}, {rows}", *self.notes]
        return one_line("; ".join(parts), 1000)

    def choose_where(self, rows: Iterable[int]) -> Dataset:
        """The dataset with only these rows, as `choose`; `left_out` then has the others too."""
        found = self.choose(rows)
        return replace(found, left_out=self.left_out.union(self.rows).difference(found.rows))

    def raw_rows(self) -> Iterator[Raw]:
        """The chosen rows as they are in the file."""
        return (raw for raw in self._up_to_last() if self._is_chosen(raw))

    def __iter__(self) -> Iterator[list[Example] | Reject]:
        """The examples of each row, or its rejection, in file order."""
        return self.read()

    def read(self, log: ReadLog | None = None) -> Iterator[list[Example] | Reject]:
        """The examples of each row, or its rejection, in file order; the log is filled meanwhile.

        It counts the chosen rows only.
        """
        return (found for _, found in self.read_with_raw(log))

    def read_with_raw(
        self, log: ReadLog | None = None
    ) -> Iterator[tuple[Raw, list[Example] | Reject]]:
        """The same with each row as it is in the file."""
        if log is not None and self.n_false:
            log.n_rows += self.n_false
            log.facts[Fact.LABEL_FALSE] += self.n_false
        with OccurrenceIds() as ids:
            for raw in self._up_to_last():
                # Rows that are not chosen are counted too, so that an id does not depend on the
                # choice.
                is_chosen = self._is_chosen(raw)
                found = self._read(raw, ids, log if is_chosen else None)
                if is_chosen:
                    yield raw, found

    def _up_to_last(self) -> Iterator[Raw]:
        """All rows up to the last chosen one."""
        return self._open() if self._chosen is None else islice(self._open(), len(self._chosen))

    def _is_chosen(self, raw: Raw) -> bool:
        return self._chosen is None or self._chosen[raw.row] == 1

    def _read(
        self, raw: Raw, ids: OccurrenceIds, log: ReadLog | None = None
    ) -> list[Example] | Reject:
        if log is not None:
            log.n_rows += 1
        if raw.error is not None:
            return raw.reject(raw.error)
        is_last = self._turns == "last"
        try:
            examples = examples_of(
                raw.row, raw.value, self.columns, last_turn_only=is_last, log=log
            )
        except BadContentError as error:
            return raw.reject(str(error))
        return [ids.identify(example) for example in examples]


def open_dataset(
    data: str | os.PathLike[str] | Iterable[Any],
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
) -> Dataset:
    """Open a dataset and detect its columns, reading it once to count and check its rows.

    `data` is a path, `-` for standard input, a folder saved by `datasets`, a hub id (extra `hf`)
    or any iterable of dictionaries. `FILE:part` is one of several parts of a file, such as
    `data.json:train`. Raises InputError if it cannot be read at all or has no rows,
    AmbiguousFormatError if its columns can be read in two ways, or if it has several parts.
    """
    given = columns or {}
    container = open_container(data, given)
    survey = Survey([key for key in given.values() if key])
    for raw in container.rows():
        survey.add(raw)
    found = _columns(survey, container, given)
    dataset = Dataset(
        container.name,
        replace(found, drops_reasoning=reasoning == "drop"),
        survey.n_rows,
        container.path,
        container.sha256,
        container.rows,
        turns,
        notes=container.notes,
    )
    return _without_false(dataset, survey)


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
    try:
        return detect(found, given)
    except AmbiguousFormatError:
        raise
    except (InputError, UsageError):
        return detect(replace(found, keys=list(survey.keys)), given)


def _without_false(dataset: Dataset, survey: Survey) -> Dataset:
    """The dataset without the rows whose label is false. Raises InputError if no row is left."""
    label = dataset.columns.label
    is_false = survey.rows_of_false(label) if label else b""
    n_false = sum(is_false)
    if not n_false:
        return dataset
    if n_false == dataset.n_rows:
        raise InputError(
            f"{dataset.name}: {label!r} is false in every row, so none is a good example; to read"
            f" them all, leave the slot `label` empty (--columns label=)"
        )
    is_true = is_false.ljust(dataset.n_rows, b"\0").translate(bytes([1, 0]) + bytes(254))
    chosen = is_true.rstrip(b"\0")
    return replace(
        dataset,
        _chosen=chosen,
        n_rows=dataset.n_rows - n_false,
        _n_rows_in_all=dataset.n_rows,
        n_false=n_false,
    )
