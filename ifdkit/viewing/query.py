"""What the page asks about all rows: which ones, in which order, and how they are distributed.

Every part of a filter is computed once for the rows read so far and kept, so that a further click
costs one `and` of masks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.where import suggestion
from ifdkit.errors import UsageError
from ifdkit.expressions.evaluation import Column, Mask, NumberColumn, evaluate
from ifdkit.expressions.nodes import Name, names_of
from ifdkit.expressions.syntax import fail, parse
from ifdkit.selection.ids import MARKS
from ifdkit.viewing.marks import Marks
from ifdkit.viewing.table import CodedColumn, ColumnTable, Floats, IdColumn
from ifdkit.viewing.texts import TextStore
from ifdkit.viewing.words import terms_of

Positions = NDArray[np.int64]
_Result = TypeVar("_Result")
MAX_CACHED = 64
"""Masks, orders and binned columns: a megabyte to eight of each million rows."""
MAX_HISTOGRAM_BINS = 60
GRID = (72, 48)
"""Cells of the scatter plot, x and y."""
FLAG = "filter"


@dataclass(frozen=True, slots=True)
class Range:
    """Rows in which `low <= column <= high`."""

    column: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows."""

    where: str = ""
    search: str = ""
    finding: str = ""
    mark: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    """Column and value, such as status and `ok`."""
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Bins:
    """The bins of a column: the bin of every row, −1 if its number is undefined."""

    codes: NDArray[np.int16]
    edges: Floats
    """Shape (bins + 1,). The first and last bin contain everything beyond."""
    is_log: bool


class Queries:
    """Answers about the rows of a table. Used by several threads."""

    def __init__(
        self, table: ColumnTable, texts: Sequence[TextStore], findings: Findings, marks: Marks
    ) -> None:
        self._table, self._texts, self._findings, self._marks = table, texts, findings, marks
        self._cache: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = RLock()

    def forget(self) -> None:
        """Forget what was computed, because a column was replaced."""
        with self._lock:
            self._cache.clear()

    def _cached(self, key: tuple[Hashable, ...], n: int, make: Callable[[], _Result]) -> _Result:
        # Keys contain the number of rows: what was computed while loading is never used later.
        with self._lock:
            if (n, key) not in self._cache:
                self._cache[n, key] = make()
                while len(self._cache) > MAX_CACHED:
                    self._cache.popitem(last=False)
            self._cache.move_to_end((n, key))
            found: _Result = self._cache[n, key]
            return found

    def mask(self, query: Query, n: int) -> Mask:
        """Which of the first `n` rows a query chooses. Raises UsageError for a wrong expression."""
        masks = []
        if query.where.strip():
            masks.append(self._cached(("where", query.where), n, lambda: self._where(query, n)))
        masks += [self._term(term, n) for term in terms_of(query.search)]
        masks += [self._facet(name, value, n) for name, value in query.facets]
        if query.finding:
            revision = self._findings.revision
            key = ("finding", query.finding, revision)
            masks.append(self._cached(key, n, lambda: self._findings.mask(query.finding, n)))
        for one in query.ranges:
            self._check_number(one.column)
            numbers = self.numbers(one.column, n)
            masks.append((numbers >= one.low) & (numbers <= one.high))
        if query.mark:
            masks.append(self._marked(query.mark, n))
        return np.logical_and.reduce(masks) if masks else np.ones(n, dtype=bool)

    def order(self, query: Query, sort: str, n: int, *, descending: bool) -> Positions:
        """The positions of the rows of a query, sorted; undefined ones come last either way."""
        revisions = (self._findings.revision, self._marks.revision if query.mark else 0)
        key = ("order", query, sort, descending, revisions)
        return self._cached(key, n, lambda: self._ordered(query, sort, n, descending))

    def _ordered(self, query: Query, sort: str, n: int, descending: bool) -> Positions:
        mask = self.mask(query, n)
        if not sort:
            found = np.flatnonzero(mask)
            return found[::-1] if descending else found
        key = ("sorted", sort, descending)
        every = self._cached(key, n, lambda: self._sorted(sort, n, descending))
        return every if mask.all() else every[mask[every]]

    def _sorted(self, sort: str, n: int, descending: bool) -> Positions:
        numbers = self.sort_keys(sort, n)
        keys = -numbers if descending else numbers
        return np.argsort(keys, kind="stable").astype(np.int64)  # NaN comes last

    def sort_keys(self, name: str, n: int) -> Floats:
        """Numbers in the order of a column's values; NaN if undefined."""
        if name == "id":
            import pyarrow as pa
            import pyarrow.compute as pc

            ids = pa.array(self._table.ids[:n], pa.large_string())
            ranks: Floats = pc.rank(ids, tiebreaker="min").to_numpy().astype(np.float64)
            return ranks
        if self.is_number(name):
            return self.numbers(name, n)
        column = self.coded(name, n)
        texts = column.dictionary.texts.tolist()
        ranks = np.full(len(texts), np.nan)
        known = sorted((text, code) for code, text in enumerate(texts) if text is not None)
        for rank, (_, code) in enumerate(known):
            ranks[code] = rank
        sorted_ranks: Floats = ranks[column.codes]
        return sorted_ranks

    def is_number(self, name: str) -> bool:
        """Whether a column has numbers. Raises UsageError for an unknown name."""
        if name not in self._table.names:
            raise UsageError(f"no column {name[:80]!r} ({suggestion(name, self._table.names)})")
        return self._table.is_number(name)

    def _check_number(self, name: str) -> None:
        if not self.is_number(name):
            raise UsageError(f"column {name[:80]!r} has no numbers")

    def numbers(self, name: str, n: int) -> Floats:
        """The first `n` numbers of a column."""
        return self._cached(("numbers", name), n, lambda: self._table.numbers(name, n))

    def coded(self, name: str, n: int) -> CodedColumn:
        """The first `n` values of a column that is no number of ifdkit's own."""
        return self._cached(("coded", name), n, lambda: self._table.coded(name, n))

    def _column(self, name: Name, n: int) -> Column:
        written = ".".join(name.path)
        if written == "id":
            return self._cached(("ids",), n, lambda: IdColumn(self._table.ids[:n]))
        if written not in self._table.names:
            known = ["id", *self._table.names]
            fail(FLAG, f"unknown name {written[:80]!r} ({suggestion(written, known)})",
                 name.position)  # fmt: skip
        if self._table.has_values(written):
            return self.coded(written, n)
        return NumberColumn(self.numbers(written, n))

    def _where(self, query: Query, n: int) -> Mask:
        expression = parse(query.where, FLAG)
        columns = {name: self._column(name, n) for name in names_of(expression)}
        return evaluate(expression, columns).is_true

    def _term(self, term: str, n: int) -> Mask:
        def find() -> Mask:
            found = [one.find(term, n) for one in self._texts if one.n]
            return np.logical_or.reduce(found) if found else np.zeros(n, dtype=bool)

        return self._cached(("term", term), n, find)

    def _facet(self, name: str, value: str, n: int) -> Mask:
        if name not in self._table.names or not self._table.has_values(name):
            raise UsageError(f"no column {name[:80]!r} to filter by")
        column = self.coded(name, n)
        codes = np.flatnonzero(column.dictionary.texts == value)
        return np.isin(column.codes, codes)

    def _marked(self, mark: str, n: int) -> Mask:
        wanted = self._marks.ids(mark) if mark in MARKS else frozenset()
        others = frozenset[str]().union(*(self._marks.ids(one) for one in MARKS))
        if mark == "none":
            return np.array([name not in others for name in self._table.ids[:n]], dtype=bool)
        return np.array([name in wanted for name in self._table.ids[:n]], dtype=bool)

    def bins(self, name: str, n: int, count: int) -> Bins:
        """The bins of a column of numbers. Raises UsageError."""
        self._check_number(name)
        return self._cached(("bins", name, count), n, lambda: _binned(self.numbers(name, n), count))

    def histogram(self, query: Query, name: str, n: int) -> dict[str, Any]:
        """Rows in each bin of a column: all, and those of a query."""
        bins = self.bins(name, n, min(MAX_HISTOGRAM_BINS, max(8, round(3 * math.sqrt(n)))))
        codes, size = bins.codes + 1, len(bins.edges)
        mask = self.mask(query, n)
        return {
            "edges": bins.edges.tolist(),
            "log": bins.is_log,
            "all": np.bincount(codes, minlength=size)[1:].tolist(),
            "chosen": np.bincount(codes[mask], minlength=size)[1:].tolist(),
            "undefined": int((bins.codes < 0).sum()),
        }

    def grid(self, query: Query, x: str, y: str, n: int) -> dict[str, Any]:
        """Rows in each cell of two columns, row by row: all, and those of a query."""
        across, up = self.bins(x, n, GRID[0]), self.bins(y, n, GRID[1])
        width, height = len(across.edges) - 1, len(up.edges) - 1
        is_known = (across.codes >= 0) & (up.codes >= 0)
        cells = up.codes.astype(np.int64) * width + across.codes
        mask = self.mask(query, n) & is_known
        return {
            "x": {"edges": across.edges.tolist(), "log": across.is_log},
            "y": {"edges": up.edges.tolist(), "log": up.is_log},
            "all": np.bincount(cells[is_known], minlength=width * height).tolist(),
            "chosen": np.bincount(cells[mask], minlength=width * height).tolist(),
        }

    def percentile(self, name: str, position: int, n: int) -> float | None:
        """The share of the defined numbers that are smaller, plus half of the equal ones, 0…100."""
        value = float(self.numbers(name, n)[position])
        if math.isnan(value):
            return None
        numbers = self._cached(("known", name), n, lambda: _sorted_known(self.numbers(name, n)))
        below, upto = (np.searchsorted(numbers, value, side) for side in ("left", "right"))
        return float(50 * (int(below) + int(upto)) / len(numbers))


def _sorted_known(numbers: Floats) -> Floats:
    return np.sort(numbers[~np.isnan(numbers)])


def _binned(numbers: Floats, count: int) -> Bins:
    """Equal bins between the 0.5th and 99.5th percentile, of the logarithm for long tails."""
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return Bins(np.full(len(numbers), -1, dtype=np.int16), np.array([0.0, 1.0]), False)
    low, middle, high = np.quantile(known, [0.005, 0.5, 0.995]).tolist()
    # IFD near 1 and counts of words: a long tail would put all rows into the first bin.
    is_log = low > 0 and high / max(middle, 1e-12) > 4 and high / low > 20
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.log(numbers) if is_log else numbers
        first, last = (math.log(low), math.log(high)) if is_log else (low, high)
        if first == last:
            first, last = first - 0.5, last + 0.5
        if not is_log and (known == np.round(known)).all() and last - first < count:
            first, last = math.floor(first) - 0.5, math.ceil(last) + 0.5  # a bin for every integer
            count = round(last - first)
        scaled = np.floor((values - first) * (count / (last - first)))
    codes = np.clip(np.nan_to_num(scaled, nan=0, posinf=count, neginf=0), 0, count - 1)
    codes = np.where(np.isnan(numbers), -1, codes).astype(np.int16)
    edges = np.linspace(first, last, count + 1)
    return Bins(codes, np.exp(edges) if is_log else edges, is_log)


@dataclass(eq=False)
class Findings:
    """Kind of finding → the rows that show it. The checking thread adds kinds."""

    titles: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Positions] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    """Rows that show it; more than are in `rows` if a summary names only the first."""
    revision: int = 0

    def add(self, kind: str, title: str, rows: Sequence[int], total: int | None = None) -> None:
        """Add rows of a kind."""
        known = self.rows.get(kind, np.zeros(0, dtype=np.int64))
        joined = np.union1d(known, np.asarray(rows, dtype=np.int64))
        if not len(joined):
            return
        self.titles[kind] = title
        self.totals[kind] = max(len(joined), total or 0)
        self.rows[kind] = joined
        self.revision += 1

    def mask(self, kind: str, n: int) -> Mask:
        """The rows that show a kind."""
        mask: Mask = np.zeros(n, dtype=bool)
        rows = self.rows.get(kind, np.zeros(0, dtype=np.int64))
        mask[rows[rows < n]] = True
        return mask

    def of(self, position: int) -> list[str]:
        """The kinds that a row shows."""
        return [kind for kind, rows in list(self.rows.items())
                if (at := int(np.searchsorted(rows, position))) < len(rows)
                and rows[at] == position]  # fmt: skip

    def described(self) -> list[Mapping[str, Any]]:
        """Kinds with their titles and numbers, the most frequent first."""
        kinds = sorted(self.rows, key=lambda kind: -self.totals[kind])
        return [{"kind": kind, "title": self.titles[kind], "count": self.totals[kind],
                 "listed": len(self.rows[kind])} for kind in kinds]  # fmt: skip
