"""Where the rows of a dataset come from, where a column of it says so."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE_FIELDS = ("source", "data_source", "dataset", "subset", "category", "domain", "task")
"""Columns that say it; of several the first in this order."""
_MOST_CHARS = 100
"""A longer text is no name."""
_MOST_NAMES = 1_000
NO_NAME = "(none)"


@dataclass(frozen=True, eq=False)
class Labels:
    """The source of every row."""

    field: str
    names: list[str]
    """In the order in which they occur."""
    codes: NDArray[np.int64]
    """Place of each row's source in `names`."""


class SourceColumns:
    """Looks at the rows as they pass, and finds the column that names their sources."""

    def __init__(self, used: Collection[str]) -> None:
        """`used` are columns that hold the texts themselves."""
        self._columns = {name: _Column() for name in SOURCE_FIELDS if name not in used}

    def add(self, row: Any) -> None:
        """Look at the next row that could be read."""
        for name, column in self._columns.items():
            column.add(row.get(name) if isinstance(row, Mapping) else None)

    def labels(self) -> Labels | None:
        """The first column with two names or more; None where there is none."""
        for name, column in self._columns.items():
            if column.is_telling:
                return Labels(name, list(column.codes), np.array(column.rows, dtype=np.int64))
        return None


class _Column:
    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.rows = array("q")
        self._is_names = True

    def add(self, value: Any) -> None:
        if not self._is_names:
            return
        if value is None:
            value = NO_NAME
        if not isinstance(value, str) or len(value) > _MOST_CHARS or len(self.codes) > _MOST_NAMES:
            self._is_names = False
            return
        self.rows.append(self.codes.setdefault(value, len(self.codes)))

    @property
    def is_telling(self) -> bool:
        return self._is_names and len(self.codes) > 1
