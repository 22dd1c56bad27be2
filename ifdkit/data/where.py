"""`--where` on the columns of a dataset: which of its rows an expression chooses.

A row that cannot be read, or is not an object, cannot be judged.  It stays in the dataset, where it
is rejected and counted: no expression can hide an unreadable row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, NoReturn

from ifdkit.data.dataset import Dataset
from ifdkit.data.raw import Raw
from ifdkit.errors import UsageError
from ifdkit.expressions.evaluation import Column, evaluate
from ifdkit.expressions.nodes import Expression, Name, names_of
from ifdkit.expressions.syntax import fail, parse

FLAG = "--where"
ROW = Name(("row",))
"""The 0-based position of a row in the input."""
SOURCE = Name(("source",))
"""The input of a row if there are several. In backticks, or with one input, it is a column."""
_ROWS_PER_BATCH = 16_384
_MAX_KEYS = 10_000
"""Keys that are remembered to suggest one in place of a misspelled name."""


def expression_of(text: str | None) -> Expression | None:
    """The expression of `--where`, if there is one. Raises UsageError."""
    return None if text is None else parse(text, FLAG)


class Cells:
    """Collects the values that an expression names, row by row."""

    def __init__(self, dataset: Dataset, names: Iterable[Name], others: Iterable[str] = ()) -> None:
        """`others` are names that the caller knows besides columns, for messages."""
        names = dict.fromkeys(names)
        self._source_of = dataset.source_of if dataset.has_sources and SOURCE in names else None
        known = (ROW, SOURCE) if dataset.has_sources else (ROW,)
        self._names = [name for name in names if name not in known]
        self._others = tuple(others)
        self._rows: list[int] = []
        self._values: dict[Name, list[Any]] = {name: [] for name in self._names}
        self.missing = set(self._names)
        """Names that no row so far has."""
        self._keys: dict[str, None] = {}

    def add(self, row: int, value: Mapping[str, Any]) -> None:
        """Add the values of the next row."""
        self._rows.append(row)
        for name in self._names:
            found = _find(value, name.path)
            self._values[name].append(found[0] if found else None)
            if found and name in self.missing:
                self.missing.discard(name)
        if self.missing and len(self._keys) < _MAX_KEYS:
            for name in self.missing:
                self._keys.update(dict.fromkeys(_siblings(value, name.path)))

    def take(self) -> tuple[list[int], dict[Name, Column]]:
        """The rows added since the last call, and their values."""
        rows, values = self._rows, self._values
        self._rows, self._values = [], {name: [] for name in self._names}
        columns = {name: Column(cells) for name, cells in values.items()} | {ROW: Column(rows)}
        if self._source_of is not None:
            columns[SOURCE] = Column(list(map(self._source_of, rows)))
        return rows, columns

    def check(self) -> None:
        """Raise UsageError if a name is in no row: it is misspelled."""
        for name in self._names:
            if name in self.missing:
                self._fail(name)

    def _fail(self, name: Name) -> NoReturn:
        written = ".".join(name.path)
        if written in self._others and not name.is_quoted:
            problem = (
                f"{written!r} is a score, and here rows are chosen before they are scored: use"
                " `ifdkit select --where`, or name a column of the rows"
            )
            fail(FLAG, problem, name.position)
        hint = suggestion(written, [*self._keys, *self._others])
        fail(FLAG, f"unknown name {written[:80]!r} ({hint})", name.position)


def suggestion(written: str, known: Sequence[str]) -> str:
    """What a misspelled word may be meant for."""
    if close := get_close_matches(written, known, n=1):
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(repr(key) for key in known[:12]) + (", …" if len(known) > 12 else "")
    return f"there are {listed}" if known else "there are no columns"


def _find(value: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any] | None:
    """The value at a path; None if the row has no such field.

    A key with dots in it, as in flattened files, comes before a field inside an object.
    """
    if len(path) > 1 and (joined := ".".join(path)) in value:
        return (value[joined],)
    found: Any = value
    for key in path:
        if not (isinstance(found, Mapping) and key in found):
            return None
        found = found[key]
    return (found,)


def _siblings(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """What could stand in place of a path that was not found, as it is written."""
    found: Any = value
    for depth, key in enumerate(path):
        if not isinstance(found, Mapping):
            return
        yield from (".".join((*path[:depth], str(other))) for other in found)
        found = found.get(key)


def judged_rows(dataset: Dataset) -> Iterator[Raw]:
    """The rows that an expression can be evaluated for."""
    return (raw for raw in dataset.raw_rows() if _is_judged(raw))


def _is_judged(raw: Raw) -> bool:
    return raw.error is None and isinstance(raw.value, Mapping)


def check_names(dataset: Dataset, expression: Expression, others: Iterable[str]) -> None:
    """Raise UsageError if a name in it is neither a column of the dataset nor one of the others."""
    others = tuple(others)
    known = {Name((other,)) for other in others}
    names = (name for name in names_of(expression) if name not in known)
    cells = Cells(dataset, names, others)
    for raw in judged_rows(dataset):
        if not cells.missing:
            return
        cells.add(raw.row, raw.value)
        cells.take()
    cells.check()


def choose_where(dataset: Dataset, expression: Expression, others: Iterable[str] = ()) -> Dataset:
    """The dataset with only the rows for which the expression is true, read in batches.

    `others` are names that the caller knows besides columns, for messages.  Raises UsageError for
    an unknown name, or if no row is chosen.
    """
    cells = Cells(dataset, names_of(expression), others)
    chosen: list[int] = []
    n_judged, n_true = 0, 0
    raws = dataset.raw_rows()
    while batch := list(islice(raws, _ROWS_PER_BATCH)):
        for raw in batch:
            if _is_judged(raw):
                cells.add(raw.row, raw.value)
            else:
                chosen.append(raw.row)
        rows, columns = cells.take()
        if rows:
            is_true = evaluate(expression, columns).is_true.tolist()
            chosen += [row for row, is_chosen in zip(rows, is_true, strict=True) if is_chosen]
            n_judged += len(rows)
            n_true += sum(is_true)
    if n_judged:
        cells.check()
        check_any(dataset, n_true)
    return dataset.choose_where(chosen)


def check_any(dataset: Dataset, n_true: int) -> None:
    """Raise UsageError if an expression is true for no row."""
    if not n_true:
        raise UsageError(f"{FLAG}: it is true for none of the {dataset.n_rows:,} rows of"
                         f" {dataset.name}")  # fmt: skip
