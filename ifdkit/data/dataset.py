"""Datasets: rows from one input or from several, and how they become examples.

    sources      bytes, decompressed and decoded
    json_lines   JSON Lines → Raw
    json_rows    JSON arrays and concatenated JSON → Raw
    text_files   plain text, a document per file or per line → Raw
    table_rows   CSV, Parquet and Arrow → Raw
    objects      one JSON object around the rows of a dataset → Raw
    files        the right one of these for a file; signatures name those that are not read
    memory       Python objects → Raw
    many_inputs  globs, folders of shards and lists of paths → the inputs of one dataset
    containers   a path, a folder, standard input, a hub id or Python objects
    parts        one input: its container, its columns, and its place in the dataset
    unchanged    files that must not change while they are read
    survey       what all rows show: their number, keys and labels
    detection    the names of the columns → Columns
    layouts      a row and its Columns → turns, by way of pairs, messages and content_parts
    examples     turns → Examples
    plain_pairs  the same for a row of two texts, without turns
    read_log     what was not used

Every row gives either its examples or one Reject. Every field that is not empty is used, harmless
(`read_log.HARMLESS`), or counted in the ReadLog.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ifdkit.data.columns import Columns
from ifdkit.data.examples import OccurrenceIds, examples_of
from ifdkit.data.layouts import describe_columns
from ifdkit.data.many_inputs import ManyInputs, expand
from ifdkit.data.parts import Part, PartsReader, open_part
from ifdkit.data.plain_pairs import PlainPairs
from ifdkit.data.raw import Raw
from ifdkit.data.read_log import Fact, ReadLog
from ifdkit.data.turns import BadContentError
from ifdkit.errors import InputError
from ifdkit.format import plural
from ifdkit.records import Example, Reject
from ifdkit.visible import one_line

if TYPE_CHECKING:
    from ifdkit.data.frames import OtherFrame

Turns = Literal["all", "last"]
Reasoning = Literal["keep", "drop"]


@dataclass(frozen=True)
class Dataset:
    """Rows that can be read any number of times, and how to read them."""

    name: str
    """How messages refer to it: the path, `stdin`, or the kind of object."""
    parts: tuple[Part, ...]
    """The inputs, in the order of their rows. Rows of several have a `source`."""
    n_rows: int
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
    def has_sources(self) -> bool:
        """Whether there are several inputs."""
        return len(self.parts) > 1

    @property
    def path(self) -> Path | None:
        """The user's file or folder; None for any other container, and for several inputs."""
        return None if self.has_sources else self.parts[0].path

    @property
    def sha256(self) -> str | None:
        """Digest of the file as it is on disk; None if there is no file.

        For several inputs it is made from their names and digests.
        """
        if not self.has_sources:
            return self.parts[0].sha256
        lines = "".join(f"{part.source} {part.sha256}\n" for part in self.parts)
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()

    @property
    def columns(self) -> Columns:
        """How rows are read; of several inputs, the first that could be read."""
        return next(part.columns for part in self.parts if part.n_readable)

    @property
    def filled_columns(self) -> dict[str, str]:
        """Slot → column, for the slots that are filled alike in all inputs that could be read."""
        first, *others = [part.columns.filled for part in self.parts if part.n_readable]
        return {
            slot: column
            for slot, column in first.items()
            if all(other.get(slot) == column for other in others)
        }

    def part_of(self, row: int) -> Part:
        """The input that a row comes from."""
        return self.parts[bisect_right(self.parts, row, key=lambda part: part.first_row) - 1]

    def source_of(self, row: int) -> str | None:
        """What a row carries as `source`; None if there is one input."""
        return self.part_of(row).source

    def columns_of(self, row: int) -> Columns:
        """How a row is read."""
        return self.part_of(row).columns

    def rows_per_source(self) -> dict[str, int]:
        """Source → its chosen rows, for every source; empty if there is one input."""
        found = Counter({part.source or "": part.n_rows for part in self.parts})
        if self._chosen is not None:
            chosen = np.frombuffer(self._chosen, np.uint8)
            for part in self.parts:
                end = part.first_row + part.n_rows
                found[part.source or ""] = int(chosen[part.first_row : end].sum())
        return dict(found) if self.has_sources else {}

    @property
    def n_rows_in_all(self) -> int:
        """The number of rows, including those that are not chosen."""
        return self.n_rows if self._n_rows_in_all is None else self._n_rows_in_all

    @property
    def is_beginning(self) -> bool:
        """Whether the rows are the first ones of all, or all."""
        if self._chosen is None:
            return self.n_rows == self.n_rows_in_all
        return 0 not in self._chosen

    @property
    def has_documents(self) -> bool:
        """Whether its examples are text documents, which have no instruction."""
        return self.columns.text is not None

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

    def as_part_of(self, n_rows: int) -> Dataset:
        """The same, if its rows were chosen from so many before they became a dataset."""
        return replace(self, _n_rows_in_all=n_rows)

    def describe(self) -> str:
        """`data.json: Alpaca: instruction + input → output, 1,000 rows`, for a note to the user."""
        rows = plural(self.n_rows, "row")
        if not self.has_sources:
            columns = describe_columns(self.parts[0].columns)
            return one_line("; ".join([f"{self.name}: {columns}, {rows}", *self.notes]), 1000)
        layouts = Counter(describe_columns(one.columns) for one in self.parts if one.n_readable)
        counted = [f"{n:,} × {layout}" for layout, n in layouts.most_common()]
        found = counted if len(counted) > 1 else list(layouts)
        begin = f"{self.name}: {len(self.parts):,} inputs, {rows}"
        return one_line("; ".join([begin, *found, *self.notes]), 1000)

    def problems(self) -> list[str]:
        """What could not be read, one line for each of several inputs."""
        return [
            f"{part.source}: {_problem(part)}; counted as one rejected row"
            for part in self.parts
            if part.problem is not None
        ]

    def choose_where(self, rows: Iterable[int]) -> Dataset:
        """The dataset with only these rows, as `choose`; `left_out` then has the others too."""
        found = self.choose(rows)
        return replace(found, left_out=self.left_out.union(self.rows).difference(found.rows))

    def check_unchanged(self) -> None:
        """Raise ChangedInputError if a file has changed since it was opened."""
        for part in self.parts:
            part.check_unchanged()

    def raw_rows(self) -> Iterator[Raw]:
        """The chosen rows as they are in the file."""
        return (
            raw for part in self.parts for raw in self._up_to_last(part) if self._is_chosen(raw)
        )

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
            for part in self.parts:
                pairs = PlainPairs(part.columns)
                # Rows that are not chosen are counted too, so that an id does not depend on the
                # choice.
                for raw in self._up_to_last(part):
                    is_chosen = self._is_chosen(raw)
                    found = self._read(part, pairs, raw, ids, log if is_chosen else None)
                    if is_chosen:
                        yield raw, found

    def _up_to_last(self, part: Part) -> Iterator[Raw]:
        """All rows of a part up to the last chosen one of the dataset."""
        n_rows = None if self._chosen is None else len(self._chosen) - part.first_row
        if n_rows is None or n_rows > 0:
            yield from islice(part.rows(), n_rows)
            part.check_unchanged()

    def _is_chosen(self, raw: Raw) -> bool:
        return self._chosen is None or self._chosen[raw.row] == 1

    def _read(
        self, part: Part, pairs: PlainPairs, raw: Raw, ids: OccurrenceIds, log: ReadLog | None
    ) -> list[Example] | Reject:
        if log is not None:
            log.n_rows += 1
        if raw.error is not None:
            return replace(raw.reject(raw.error), source=part.source)
        try:
            if (pair := pairs.example(raw.row, raw.value, log)) is not None:
                examples = [pair]
            else:
                is_last = self._turns == "last"
                examples = examples_of(
                    raw.row, raw.value, part.columns, last_turn_only=is_last, log=log
                )
        except BadContentError as error:
            return replace(raw.reject(str(error)), source=part.source)
        found = [ids.identify(example, part.source) for example in examples]
        if log is not None and part.source:
            own = zip(examples, found, strict=True)
            if any(a.id not in ("", b.id) for a, b in own):
                log.facts[Fact.ID_TAKEN] += 1
        return found


def _problem(part: Part) -> str:
    read = f"only its first {plural(part.n_readable, 'row')} could be read: "
    return (read if part.n_readable else "") + (part.problem or "")


def open_dataset(
    data: str | os.PathLike[str] | Iterable[Any] | ManyInputs | OtherFrame,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
    lines: bool = False,
) -> Dataset:
    """Open a dataset and detect its columns, reading it once to count and check its rows.

    `data` is a path, a glob, a folder of shards or one saved by `datasets`, `-` for standard input,
    a hub id (extra `hf`), a list of these, or any iterable of dictionaries. With `lines`, each line
    of a text file is a document. `FILE:part` is one of several parts of a file, such as
    `data.json:train`. Raises InputError if it cannot be read at all or has no rows,
    AmbiguousFormatError if its columns can be read in two ways, or if a file has several parts.
    """
    given = columns or {}
    data = expand(data)
    if isinstance(data, ManyInputs):
        parts = _open_parts(data, given, lines=lines)
        name, notes = data.name, (*data.notes, *_notes_of(parts))
    else:
        parts = (open_part(data, given, lines=lines),)
        name, notes = parts[0].name, parts[0].notes
    drops = reasoning == "drop"
    parts = tuple(
        replace(part, columns=replace(part.columns, drops_reasoning=drops)) for part in parts
    )
    dataset = Dataset(name, parts, sum(part.n_rows for part in parts), turns, notes=notes)
    return _without_false(dataset)


def _open_parts(many: ManyInputs, given: Mapping[str, str], *, lines: bool) -> tuple[Part, ...]:
    """Every input as a part. Raises InputError if none of them can be read."""
    reader, parts, first_row = PartsReader(given, lines=lines), [], 0
    for one in many.inputs:
        parts.append(reader.open(one, first_row))
        first_row += parts[-1].n_rows
    reader.check(many.name)
    if not any(part.n_readable for part in parts):
        raise InputError(
            f"{many.name}: none of the {len(parts):,} inputs can be read; the first: "
            f"{parts[0].problem}"
        )
    _check_same_kind(parts, many.name)
    return tuple(parts)


def _check_same_kind(parts: Iterable[Part], name: str) -> None:
    """Raise InputError if some inputs contain documents, and others pairs."""
    first_of = {part.columns.text is not None: part for part in parts if part.n_readable}
    if len(first_of) == 2:
        raise InputError(
            f"{name}: {first_of[True].source} contains documents, and {first_of[False].source}"
            " instruction–response pairs; read them in two runs"
        )


def _notes_of(parts: Iterable[Part]) -> list[str]:
    """What the containers turned out to be, once for all inputs of which it is true."""
    found = Counter(note for part in parts for note in part.notes)
    return [f"{plural(n, 'input')}: {note}" for note, n in found.most_common()]


def _without_false(dataset: Dataset) -> Dataset:
    """The dataset without the rows whose label is false. Raises InputError if no row is left."""
    n_false = sum(sum(part.is_false) for part in dataset.parts)
    if not n_false:
        return dataset
    if n_false == dataset.n_rows:
        raise InputError(
            f"{dataset.name}: {dataset.parts[0].columns.label!r} is false in every row, so none is"
            " a good example; to read them all: --columns label="
        )
    is_false = b"".join(part.is_false.ljust(part.n_rows, b"\0") for part in dataset.parts)
    chosen = is_false.translate(bytes([1, 0]) + bytes(254)).rstrip(b"\0")
    return replace(
        dataset,
        _chosen=chosen,
        n_rows=dataset.n_rows - n_false,
        _n_rows_in_all=dataset.n_rows,
        n_false=n_false,
    )
