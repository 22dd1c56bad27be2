"""The columns of the viewed rows, which grow while the files are read.

The loading thread appends; requests read the first `n` entries, which never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.expressions.evaluation import Column, Mask
from ifdkit.records import Example

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of a source."""

    ids: Sequence[str]
    numbers: Mapping[str, NDArray[Any]]
    """Column → numbers, NaN if undefined."""
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Column → values of any simple type: statuses, sources, the rows' own columns."""
    examples: tuple[Sequence[Example], ...] = ()
    """For each side the examples; empty if the texts are not available."""


class _Growing:
    """An array that grows at its end; a missing part is filled."""

    def __init__(self, dtype: Any, fill: float) -> None:
        self._array, self._n, self._fill = np.empty(1024, dtype=dtype), 0, fill

    def put(self, start: int, values: Any) -> None:
        stop = start + len(values)
        if stop > len(self._array):
            larger = np.empty(max(stop, 2 * len(self._array)), dtype=self._array.dtype)
            larger[: self._n] = self._array[: self._n]
            self._array = larger
        self._array[self._n : start] = self._fill
        self._array[start:stop] = values
        self._n = stop

    def first(self, n: int) -> NDArray[Any]:
        if self._n < n:
            self.put(n, [])
        return self._array[:n]


class _Values:
    """Values of any simple type as codes of a dictionary. Code 0 is null."""

    def __init__(self) -> None:
        self.codes = _Growing(np.int32, 0)
        self.dictionary: list[Any] = [None]
        self._known: dict[tuple[type, Any], int] = {(type(None), None): 0}
        self.has_others = False
        """Whether a value is neither a number nor null."""

    def put(self, start: int, values: Sequence[Any]) -> None:
        codes = [self._code(one) for one in values]
        self.codes.put(start, codes)

    def _code(self, value: Any) -> int:
        found = self._known.setdefault((type(value), value), len(self.dictionary))
        if found == len(self.dictionary):
            self.dictionary.append(value)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.has_others = True
        return found


class CodedColumn(Column):
    """A column whose values are entries of a dictionary: each is looked at once."""

    def __init__(self, dictionary: Sequence[Any], codes: Codes) -> None:
        super().__init__(())
        self.dictionary, self.codes = Column(dictionary), codes

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def values(self) -> Sequence[Any]:
        """The values as they are."""
        entries = self.dictionary.values
        return [entries[code] for code in self.codes.tolist()]

    @cached_property
    def is_null(self) -> Mask:
        """Which values are null."""
        return self.dictionary.is_null[self.codes]

    @cached_property
    def numbers(self) -> Floats:
        """The values as numbers; NaN for those that are none."""
        return self.dictionary.numbers[self.codes]

    @cached_property
    def texts(self) -> NDArray[np.object_]:
        """The values as text; None for null."""
        return self.dictionary.texts[self.codes]

    @cached_property
    def is_text(self) -> Mask:
        """Which values have a text."""
        return self.dictionary.is_text[self.codes]

    @cached_property
    def booleans(self) -> NDArray[np.int8]:
        """1 for true, 0 for false, −1 for anything else."""
        return self.dictionary.booleans[self.codes]


class IdColumn(Column):
    """Ids: all of them are text."""

    @cached_property
    def is_null(self) -> Mask:
        """No id is null."""
        return np.zeros(len(self), dtype=bool)

    @cached_property
    def texts(self) -> NDArray[np.object_]:
        """The ids."""
        found = np.empty(len(self), dtype=object)
        found[:] = self.values
        return found

    @cached_property
    def is_text(self) -> Mask:
        """Every id is text."""
        return np.ones(len(self), dtype=bool)


class ColumnTable:
    """Numbers and values of all rows that have been read so far."""

    def __init__(self) -> None:
        self.n = 0
        self.ids: list[str] = []
        self._numbers: dict[str, _Growing] = {}
        self._values: dict[str, _Values] = {}

    def append(self, chunk: Chunk) -> None:
        """Add a chunk; its rows count once all of it is there."""
        start = self.n
        self.ids.extend(chunk.ids)
        for name, numbers in chunk.numbers.items():
            self._numbers.setdefault(name, _Growing(np.float64, np.nan)).put(start, numbers)
        for name, values in chunk.values.items():
            self._values.setdefault(name, _Values()).put(start, values)
        self.n = start + len(chunk.ids)

    def add_numbers(self, name: str, numbers: Any) -> None:
        """Add a column of numbers once all rows are there."""
        column = _Growing(np.float64, np.nan)
        column.put(0, numbers)
        self._numbers[name] = column

    def add_values(self, name: str, values: Sequence[Any]) -> None:
        """Add a column of simple values once all rows are there."""
        column = _Values()
        column.put(0, values)
        self._values[name] = column

    @property
    def names(self) -> list[str]:
        """All columns but the id."""
        return [*self._numbers, *(one for one in self._values if one not in self._numbers)]

    def is_number(self, name: str) -> bool:
        """Whether every value of a column is a number, or null, and not all are null."""
        if name in self._numbers:
            return True
        values = self._values[name]
        return len(values.dictionary) > 1 and not values.has_others

    def n_values(self, name: str) -> int:
        """The number of different values of a column, null among them."""
        return len(self._values[name].dictionary)

    def numbers(self, name: str, n: int) -> Floats:
        """The first `n` numbers of a column, NaN if undefined."""
        if name in self._numbers:
            return self._numbers[name].first(n)
        return self.coded(name, n).numbers

    def coded(self, name: str, n: int) -> CodedColumn:
        """The first `n` values of a column that is no number of ifdkit's own."""
        found = self._values[name]
        codes = found.codes.first(n)
        return CodedColumn(found.dictionary[:], codes)

    def has_values(self, name: str) -> bool:
        """Whether the values of a column are kept as they are."""
        return name in self._values
